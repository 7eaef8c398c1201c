// Command hyperkube is every Kubernetes program of a node and control plane in one binary.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"

	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app/cmd"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": manager.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubeadm": func() *cobra.Command {
		return kubeadm.NewKubeadmCommand(os.Stdin, os.Stdout, os.Stderr)
	},
	"kubectl": kubectl.NewDefaultKubectlCommand,
	"kubelet": func() *cobra.Command {
		return kubelet.NewKubeletCommand(context.Background())
	},
}

func main() {
	name := filepath.Base(os.Args[0])
	program, linked := programs[name]
	if !linked && len(os.Args) > 1 { // hyperkube PROGRAM, not a link of the program's name
		os.Args = os.Args[1:]
		name = os.Args[0]
		program, linked = programs[name]
	}
	switch {
	case !linked:
		names := slices.Sorted(maps.Keys(programs))
		listed := strings.Join(names, " ")
		fmt.Fprintln(os.Stderr, "usage: hyperkube PROGRAM [argument...]; programs:", listed)
		os.Exit(2)
	case name == "kubectl": // it prints its own errors
		util.CheckErr(cli.RunNoErrOutput(program()))
	default:
		os.Exit(cli.Run(program()))
	}
}
