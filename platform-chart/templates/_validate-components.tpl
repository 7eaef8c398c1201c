{{/* What is wrong with the components together, one mistake a line, nothing when all is well. (root) */}}
{{- define "platform.validate.components" -}}
{{- $components := include "platform.components" . | fromJson -}}
{{- range $name, $component := $components -}}
{{- $part := dict "root" $ "name" $name "component" $component "components" $components "at" (printf "components.%s" $name) -}}
{{- include "platform.validate.component.identity" $part -}}
{{- include "platform.validate.component.ports" $part -}}
{{- include "platform.validate.component.variables" $part -}}
{{- include "platform.validate.component.volumes" $part -}}
{{- include "platform.validate.component.scale" $part -}}
{{- include "platform.validate.component.relations" $part -}}
{{- end -}}
{{- end -}}

{{/* Each of the following takes dict root name component components at, and prints lines. */}}

{{- define "platform.validate.component.identity" -}}
{{- $image := .component.image -}}
{{- if not $image.repository }}
{{ .at }}.image.repository: an image is needed
{{- else if not (or $image.tag $image.digest) }}
{{ .at }}.image: it has neither a tag nor a digest
{{- end -}}
{{- $longest := ternary 52 63 (eq .component.kind "StatefulSet") -}}
{{- $full := printf "%s-%s" (include "platform.fullname" .root) .name -}}
{{- if gt (len $full) $longest }}
{{ .at }}: {{ $full }} has {{ len $full }} characters, and a {{ .component.kind }}'s name may have {{ $longest }}; shorten it, or set fullnameOverride
{{- end -}}
{{- range $taken := list "kafka" "database" -}}
{{- if and (eq $.name $taken) (index $.root.Values $taken).enabled }}
{{ $.at }}: the chart's own {{ $taken }} has this name; choose another one, or set {{ $taken }}.enabled to false
{{- end -}}
{{- end -}}
{{- if and .component.capacityType.prefer .component.capacityType.require }}
{{ .at }}.capacityType: it has both prefer and require; set one of them to null
{{- end -}}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/part-of" "app.kubernetes.io/managed-by" -}}
{{- if hasKey $.component.podLabels $label }}
{{ $.at }}.podLabels: the chart sets {{ $label }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.ports" -}}
{{- $ports := .component.ports -}}
{{- $numbers := dict -}}
{{- range $name, $given := $ports -}}
{{- $port := ternary $given (dict "port" $given) (kindIs "map" $given) -}}
{{- $number := printf "%v/%s" $port.port ($port.protocol | default "TCP") -}}
{{- if hasKey $numbers $number }}
{{ $.at }}.ports: {{ get $numbers $number }} and {{ $name }} are both {{ $number }}
{{- end -}}
{{- $_ := set $numbers $number $name -}}
{{- end -}}
{{- $known := join ", " (keys $ports | sortAlpha) | default "none" -}}
{{- range $probe, $settings := .component.probes -}}
{{- $handlers := list -}}
{{- range $handler := list "httpGet" "tcpSocket" "exec" "grpc" -}}
{{- if hasKey $settings $handler -}}
{{- $handlers = append $handlers $handler -}}
{{- end -}}
{{- end -}}
{{- if ne (len $handlers) 1 }}
{{ $.at }}.probes.{{ $probe }}: it needs exactly one of httpGet, tcpSocket, exec and grpc, and has {{ join " and " $handlers | default "none" }}; null takes one away
{{- end -}}
{{- if and (ne $probe "readiness") (ne (int ($settings.successThreshold | default 1)) 1) }}
{{ $.at }}.probes.{{ $probe }}.successThreshold: only a readiness probe may have another one than 1
{{- end -}}
{{- range $handler := without $handlers "exec" -}}
{{- include "platform.validate.component.port" (dict "part" $ "port" (get $settings $handler).port "at" (printf "%s.probes.%s.%s.port" $.at $probe $handler)) -}}
{{- end -}}
{{- end -}}
{{- with .component.metrics.port -}}
{{- /* With tls, https is the proxy's port. */ -}}
{{- if not (and (eq (toString .) "https") (dig "tls" "enabled" false $.component)) -}}
{{- include "platform.validate.component.port" (dict "part" $ "port" . "at" (printf "%s.metrics.port" $.at)) -}}
{{- end -}}
{{- end -}}
{{- include "platform.validate.component.service" . -}}
{{- end -}}

{{/* A port that something refers to, by name or by number. dict part port at */}}
{{- define "platform.validate.component.port" -}}
{{- $component := .part.component -}}
{{- $known := join ", " (keys $component.ports | sortAlpha) | default "none" -}}
{{- if kindIs "string" .port -}}
{{- if not (hasKey $component.ports .port) }}
{{ .at }}: {{ .port }} is none of the component's ports ({{ $known }})
{{- end -}}
{{- else if not (or $component.extraContainers $component.initContainers) -}}
{{- $numbers := list -}}
{{- range $given := $component.ports -}}
{{- $numbers = append $numbers (int (ternary $given (dict "port" $given) (kindIs "map" $given)).port) -}}
{{- end -}}
{{- if not (has (int .port) $numbers) }}
{{ .at }}: {{ .port }} is none of the component's ports ({{ join ", " $numbers | default "none" }})
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.service" -}}
{{- $service := .component.service -}}
{{- $tls := .component.tls.enabled -}}
{{- if $service.enabled -}}
{{- if and $tls $service.ports }}
{{ .at }}.service.ports: with tls.enabled the Service has port 443 alone; remove the ports, or disable tls
{{- end -}}
{{- if not (or $tls $service.ports .component.ports) }}
{{ .at }}.service: there is no port to serve; give the component ports
{{- end -}}
{{- if and $service.headless (or $tls (ne $service.type "ClusterIP")) }}
{{ .at }}.service.headless: a headless Service has type ClusterIP and no TLS, for its clients reach the pods themselves
{{- end -}}
{{- if not $tls -}}
{{- $headless := ternary $service.headless (eq .component.kind "StatefulSet") (hasKey $service "headless") -}}
{{- $numbers := dict -}}
{{- range $name, $port := include "platform.component.servicePorts" . | fromJson -}}
{{- $at := printf "%s.service.ports.%s" $.at $name -}}
{{- $wrong := include "platform.validate.component.port" (dict "part" $ "port" $port.targetPort "at" $at) -}}
{{- $wrong -}}
{{- if and $headless (not $wrong) -}}
{{- $target := include "platform.component.portNumber" (dict "component" $.component "port" $port.targetPort) -}}
{{- if ne (int $target) (int $port.port) }}
{{ $at }}: a headless Service cannot lead from {{ $port.port }} to {{ $target }}; give them one number, or set service.headless to false
{{- end -}}
{{- end -}}
{{- $number := printf "%v/%s" $port.port $port.protocol -}}
{{- if hasKey $numbers $number }}
{{ $.at }}.service.ports: {{ get $numbers $number }} and {{ $name }} are both {{ $number }}
{{- end -}}
{{- $_ := set $numbers $number $name -}}
{{- end -}}
{{- end -}}
{{- else if $tls }}
{{ .at }}.tls.enabled: TLS is for a Service; set service.enabled to true
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.variables" -}}
{{- $component := .component -}}
{{- range $variable, $secret := $component.secrets -}}
{{- $at := printf "%s.secrets.%s" $.at $variable -}}
{{- $sources := list -}}
{{- range $source := list "secret" "value" "from" -}}
{{- if hasKey $secret $source -}}
{{- $sources = append $sources $source -}}
{{- end -}}
{{- end -}}
{{- if ne (len $sources) 1 }}
{{ $at }}: it needs exactly one of secret, value and from, and has {{ join " and " $sources | default "none" }}
{{- else if $secret.from -}}
{{- $key := $secret.key | default $variable -}}
{{- if not (hasKey (dig $secret.from "secrets" $key dict $.components) "value") }}
{{ $at }}: the chart makes no {{ $key }} for {{ $secret.from }}; components.{{ $secret.from }}.secrets.{{ $key }}.value would say it
{{- end -}}
{{- end -}}
{{- if hasKey $component.env $variable }}
{{ $at }}: {{ $variable }} is also in env
{{- end -}}
{{- end -}}
{{- $settings := dict "environment" "environment" "linger" (printf "%s.shutdown.linger" .at) "drain" (printf "%s.shutdown.drain" .at) -}}
{{- range $what, $variable := $component.variables -}}
{{- range $map := list "env" "config" "secrets" -}}
{{- if and $variable (ne $what "environment") (hasKey (get $component $map) $variable) }}
{{ $.at }}.{{ $map }}.{{ $variable }}: it comes from {{ get $settings $what }}, as does the time that Kubernetes gives the pod; set that
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.volumes" -}}
{{- $component := .component -}}
{{- $mounted := dict -}}
{{- range $name, $volume := $component.volumes -}}
{{- $at := printf "%s.volumes.%s" $.at $name -}}
{{- $sources := list -}}
{{- range $source := list "emptyDir" "files" "secretFiles" "configMap" "secret" "claim" "source" -}}
{{- if hasKey $volume $source -}}
{{- $sources = append $sources $source -}}
{{- end -}}
{{- end -}}
{{- if ne (len $sources) 1 }}
{{ $at }}: it needs exactly one of emptyDir, files, secretFiles, configMap, secret, claim and source, and has {{ join " and " $sources | default "none" }}
{{- end -}}
{{- if hasKey $component.claims $name }}
{{ $at }}: there is a claim of this name, too
{{- end -}}
{{- if not $volume.mountPath }}
{{ $at }}.mountPath: where it is to appear is needed
{{- else if hasKey $mounted $volume.mountPath }}
{{ $at }}.mountPath: {{ get $mounted $volume.mountPath }} is at {{ $volume.mountPath }} already
{{- end -}}
{{- $_ := set $mounted ($volume.mountPath | default $name) (printf "volumes.%s" $name) -}}
{{- end -}}
{{- $many := or $component.scaling.enabled (gt (int $component.replicas) 1) -}}
{{- range $name, $claim := $component.claims -}}
{{- $at := printf "%s.claims.%s" $.at $name -}}
{{- if not $claim.mountPath }}
{{ $at }}.mountPath: where it is to appear is needed
{{- else if hasKey $mounted $claim.mountPath }}
{{ $at }}.mountPath: {{ get $mounted $claim.mountPath }} is at {{ $claim.mountPath }} already
{{- end -}}
{{- $_ := set $mounted ($claim.mountPath | default $name) (printf "claims.%s" $name) -}}
{{- if eq (not $claim.size) (not $claim.existingClaim) }}
{{ $at }}: it needs either size or existingClaim
{{- end -}}
{{- $shared := false -}}
{{- range $claim.accessModes -}}
{{- $shared = or $shared (hasPrefix "ReadWriteMany" .) (hasPrefix "ReadOnlyMany" .) -}}
{{- end -}}
{{- if and (eq $component.kind "Deployment") (not $shared) (not $claim.existingClaim) -}}
{{- if $many }}
{{ $at }}: one node at a time can have it, and the Deployment has more than one pod; use kind StatefulSet, or accessModes [ReadWriteMany]
{{- else if ne $component.rollout.strategy "Recreate" }}
{{ $at }}: one node at a time can have it, so a new pod would wait for the old one and the old one for the new one; use kind StatefulSet, or rollout.strategy Recreate
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.scale" -}}
{{- $component := .component -}}
{{- $scaling := $component.scaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.min) (int $scaling.max) }}
{{ .at }}.scaling: min ({{ $scaling.min }}) is more than max ({{ $scaling.max }})
{{- end -}}
{{- if not (or $scaling.cpu $scaling.memory $scaling.metrics) }}
{{ .at }}.scaling: it needs cpu, memory or metrics to scale by
{{- end -}}
{{- range $resource := list "cpu" "memory" -}}
{{- if and (get $scaling $resource) (not (dig "requests" $resource "" $component.resources)) }}
{{ $.at }}.scaling.{{ $resource }}: it is a part of resources.requests.{{ $resource }}, which is not set
{{- end -}}
{{- end -}}
{{- end -}}
{{- $budget := $component.disruptionBudget -}}
{{- $fewest := int (include "platform.component.fewest" .) -}}
{{- if and $budget.enabled (gt $fewest 1) -}}
{{- if hasKey $budget "minAvailable" -}}
{{- $least := toString $budget.minAvailable -}}
{{- if or (eq $least "100%") (and (not (hasSuffix "%" $least)) (ge (int $budget.minAvailable) $fewest)) }}
{{ .at }}.disruptionBudget.minAvailable: {{ $least }} of {{ $fewest }} pods would block every drain of a node
{{- end -}}
{{- else if has (toString $budget.maxUnavailable) (list "0" "0%") }}
{{ .at }}.disruptionBudget.maxUnavailable: 0 would block every drain of a node
{{- end -}}
{{- end -}}
{{- $rollout := $component.rollout -}}
{{- $strategies := ternary (list "RollingUpdate" "OnDelete") (list "RollingUpdate" "Recreate") (eq $component.kind "StatefulSet") -}}
{{- if not (has $rollout.strategy $strategies) }}
{{ .at }}.rollout.strategy: a {{ $component.kind }} has {{ join " or " $strategies }}
{{- end -}}
{{- if and (eq $component.kind "Deployment") (eq $rollout.strategy "RollingUpdate") -}}
{{- if and (has (toString $rollout.maxSurge) (list "0" "0%")) (has (toString $rollout.maxUnavailable) (list "0" "0%")) }}
{{ .at }}.rollout: maxSurge and maxUnavailable are both 0, so no pod could ever be replaced
{{- end -}}
{{- end -}}
{{- if and (eq $component.kind "Deployment") (ge (int $rollout.minReadySeconds) (int $rollout.progressDeadlineSeconds)) }}
{{ .at }}.rollout.minReadySeconds: it must be less than progressDeadlineSeconds ({{ $rollout.progressDeadlineSeconds }})
{{- end -}}
{{- if and $component.shutdown.linger (not $component.variables.linger) (not $component.lifecycle.preStop) -}}
{{- if not (semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version) }}
{{ .at }}.shutdown.linger: Kubernetes can sleep before it stops an app from 1.30 on, this one is {{ .root.Capabilities.KubeVersion.Version }}; give variables.linger or lifecycle.preStop
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.relations" -}}
{{- range $direction := list "from" "to" -}}
{{- range $other := get $.component.networkPolicy $direction -}}
{{- if not (hasKey $.components $other) }}
{{ $.at }}.networkPolicy.{{ $direction }}: there is no component {{ $other }} ({{ keys $.components | sortAlpha | join ", " }})
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
