{{/*
What the cluster would refuse halfway, or never run. `helm template` has no cluster to ask. (root)
*/}}
{{- define "platform.validate.cluster" -}}
{{- if and .Values.checkNodes .Release.IsInstall -}}
{{- include "platform.validate.cluster.checkNodes" . -}}
{{- end -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- $part := dict "root" $ "name" $name "component" $component -}}
{{- $_ := set $part "path" (printf "components.%s" $name) -}}
{{- include "platform.validate.cluster.service" $part -}}
{{- include "platform.validate.cluster.quota" $part -}}
{{- range $claim, $settings := $component.claims -}}
{{- if $settings.size -}}
{{- $_ := set $part "claim" $claim -}}
{{- $_ := set $part "size" $settings.size -}}
{{- $_ := set $part "key" (printf "components.%s.claims.%s.size" $name $claim) -}}
{{- include "platform.validate.cluster.size" $part -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $backend := list "kafka" "database" -}}
{{- $settings := index $.Values $backend -}}
{{- if $settings.enabled -}}
{{- $part := dict "root" $ "name" $backend "component" (dict "kind" "StatefulSet") -}}
{{- $_ := set $part "claim" "data" -}}
{{- $_ := set $part "size" $settings.persistence.size -}}
{{- $_ := set $part "key" (printf "%s.persistence.size" $backend) -}}
{{- include "platform.validate.cluster.size" $part -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Nodes of the required capacity types. Without the right to list nodes, Helm fails. (root) */}}
{{- define "platform.validate.cluster.checkNodes" -}}
{{- $label := .Values.capacityTypeLabel -}}
{{- $nodes := (lookup "v1" "Node" "" "").items -}}
{{- range $capacity, $names := include "platform.requiredCapacity" . | fromJson -}}
{{- $found := empty $nodes -}}
{{- range $nodes -}}
{{- if eq $capacity (get (.metadata.labels | default dict) $label) -}}
{{- $found = true -}}
{{- end -}}
{{- end -}}
{{- if not $found }}
{{- $needed := printf "%s=%s" $label $capacity }}
capacityTypeLabel: no node has the label {{ $needed }}, which {{ join " and " $names }} must have
{{- printf "; set it: kubectl label node NODE %s; or use values-any-cluster.yaml too" $needed }}
{{- print "; or set checkNodes to false if nodes are added later" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A Service keeps its address, or that it has none. (dict root name component path) */}}
{{- define "platform.validate.cluster.service" -}}
{{- $service := .component.service -}}
{{- if $service.enabled -}}
{{- $name := include "platform.name" . -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $current := dig "spec" "clusterIP" "" (lookup "v1" "Service" $namespace $name) -}}
{{- $headless := eq (include "platform.component.headless" .) "true" -}}
{{- if and $current (ne $headless (eq $current "None")) }}
{{ .path }}.service: {{ $name }} {{ ternary "has an address" "is headless" $headless }}
{{- printf ", which cannot change; set service.headless to %v" (not $headless) }}
{{- printf ", or delete it first: kubectl --namespace %s delete service %s" $namespace $name }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quota on a resource wants it of every container. (dict root name component path) */}}
{{- define "platform.validate.cluster.quota" -}}
{{- $containers := dict "" .component.resources -}}
{{- range $list := list "initContainers" "extraContainers" -}}
{{- range $index, $container := get $.component $list -}}
{{- $_ := set $containers (printf ".%s[%d]" $list $index) ($container.resources | default dict) -}}
{{- end -}}
{{- end -}}
{{- $missing := dict -}}
{{- range $path, $resources := $containers -}}
{{- range $kind := list "requests" "limits" -}}
{{- range $resource := list "cpu" "memory" -}}
{{- /* A limit is the default of the request. */ -}}
{{- $limit := dig "limits" $resource "" $resources -}}
{{- $given := ternary $limit (dig "requests" $resource $limit $resources) (eq $kind "limits") -}}
{{- if not $given -}}
{{- $key := printf "%s.%s" $kind $resource -}}
{{- $_ := set $missing $key (append (get $missing $key | default list) $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Asked only if something is missing: not everyone may read quotas. */ -}}
{{- if $missing -}}
{{- $namespace := .root.Release.Namespace -}}
{{- if not (lookup "v1" "LimitRange" $namespace "").items -}}
{{- range $quota := (lookup "v1" "ResourceQuota" $namespace "").items -}}
{{- range $name, $_ := dig "spec" "hard" dict $quota -}}
{{- $key := ternary (printf "requests.%s" $name) $name (has $name (list "cpu" "memory")) -}}
{{- range get $missing $key | default list }}
{{ $.path }}{{ . }}.resources.{{ $key }}: the quota {{ $quota.metadata.name }} wants it; set it
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The size of a claim: a StatefulSet cannot change it, and no claim shrinks.
(dict root name component claim size key)
*/}}
{{- define "platform.validate.cluster.size" -}}
{{- $name := include "platform.name" . -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $current := "" -}}
{{- $claims := list -}}
{{- if eq .component.kind "StatefulSet" -}}
{{- $set := lookup "apps/v1" "StatefulSet" $namespace $name -}}
{{- range dig "spec" "volumeClaimTemplates" list $set -}}
{{- if eq .metadata.name $.claim -}}
{{- $current = .spec.resources.requests.storage -}}
{{- end -}}
{{- end -}}
{{- range $number := until (dig "spec" "replicas" 1 $set | int | max 1 | int) -}}
{{- $claims = append $claims (printf "%s-%s-%d" $.claim $name $number) -}}
{{- end -}}
{{- else -}}
{{- $claim := lookup "v1" "PersistentVolumeClaim" $namespace (printf "%s-%s" $name .claim) -}}
{{- $current = dig "spec" "resources" "requests" "storage" "" $claim -}}
{{- end -}}
{{- $old := include "platform.quantity" $current -}}
{{- $new := include "platform.quantity" .size -}}
{{- if and $old $new -}}
{{- if lt (float64 $new) (float64 $old) }}
{{ .key }}: it is {{ $current }}, and a claim cannot shrink; set it to that
{{- else if and $claims (gt (float64 $new) (float64 $old)) }}
{{- $patch := printf `{"spec":{"resources":{"requests":{"storage":"%s"}}}}` (toString .size) }}
{{ .key }}: it is {{ $current }}, which a StatefulSet cannot change; if the storage class enlarges
{{- printf " volumes, upgrade again after: for claim in %s; do kubectl" (join " " $claims) }}
{{- printf " --namespace %s patch pvc $claim --patch '%s'; done" $namespace $patch }}
{{- printf " && kubectl --namespace %s delete statefulset %s --cascade=orphan" $namespace $name }}
{{- end -}}
{{- end -}}
{{- end -}}
