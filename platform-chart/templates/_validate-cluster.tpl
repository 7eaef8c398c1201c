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
{{- end -}}
{{- range $size := include "platform.sizes" . | fromJsonArray -}}
{{- with (include "platform.liveClaims" (merge (dict "root" $) $size) | fromJson).largest }}
{{ $size.path }}: it is {{ . }}, and a claim cannot shrink; set it to that
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Nodes of the required capacity types. Without the right to list nodes, Helm fails. (root) */}}
{{- define "platform.validate.cluster.checkNodes" -}}
{{- if (lookup "v1" "Node" "" "").items -}}
{{- range $capacity, $names := include "platform.missingCapacity" . | fromJson -}}
{{- $needed := printf "%s=%s" $.Values.capacityTypeLabel $capacity }}
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

{{/* Every claim with a size, as a JSON list of {name, kind, claim, size, path}. (root) */}}
{{- define "platform.sizes" -}}
{{- $sizes := list -}}
{{- range $backend := list "kafka" "database" -}}
{{- $settings := index $.Values $backend -}}
{{- if $settings.enabled -}}
{{- $size := dict "name" $backend "kind" "StatefulSet" "claim" "data" -}}
{{- $_ := set $size "path" (printf "%s.persistence.size" $backend) -}}
{{- $sizes = append $sizes (set $size "size" $settings.persistence.size) -}}
{{- end -}}
{{- end -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- range $claim, $settings := $component.claims -}}
{{- if $settings.size -}}
{{- $size := dict "name" $name "kind" $component.kind "claim" $claim "size" $settings.size -}}
{{- $_ := set $size "path" (printf "components.%s.claims.%s.size" $name $claim) -}}
{{- $sizes = append $sizes $size -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $sizes -}}
{{- end -}}

{{/*
The claims of a name that are smaller than their size, and the largest size of all, as JSON:
{small, largest}. (dict root name kind claim size)
*/}}
{{- define "platform.liveClaims" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $prefix := printf "%s-%s" (include "platform.name" .) .claim -}}
{{- $names := list $prefix -}}
{{- if eq .kind "StatefulSet" -}}
{{- $names = list -}}
{{- $set := lookup "apps/v1" "StatefulSet" $namespace (include "platform.name" .) -}}
{{- range until (dig "spec" "replicas" 1 $set | int | max 1 | int) -}}
{{- $names = append $names (printf "%s-%s-%d" $.claim (include "platform.name" $) .) -}}
{{- end -}}
{{- end -}}
{{- $size := include "platform.quantity" .size | float64 -}}
{{- $live := dict "small" list "largest" "" -}}
{{- range $name := $names -}}
{{- $claim := lookup "v1" "PersistentVolumeClaim" $namespace $name -}}
{{- with dig "spec" "resources" "requests" "storage" "" $claim -}}
{{- $current := include "platform.quantity" . | float64 -}}
{{- if lt $current $size -}}
{{- $_ := set $live "small" (append $live.small $name) -}}
{{- else if gt $current $size -}}
{{- $_ := set $live "largest" . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $live -}}
{{- end -}}
