{{/* Mistakes in the components, one a line. (root) */}}
{{- define "platform.validate.components" -}}
{{- $components := include "platform.components" . | fromJson -}}
{{- range $name, $component := $components -}}
{{- $part := dict "root" $ "name" $name "component" $component "components" $components -}}
{{- $_ := set $part "path" (printf "components.%s" $name) -}}
{{- $checks := list "identity" "ports" "service" "variables" "mounts" "containers" "scale" -}}
{{- range $check := concat $checks (list "peers" "kind" "routes") -}}
{{- include (printf "platform.validate.component.%s" $check) $part -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The checks of one component. (dict root name component components path) */}}

{{- define "platform.validate.component.identity" -}}
{{- $image := .component.image -}}
{{- if not $image.repository }}
{{ .path }}.image.repository: it is empty; name an image
{{- range $name := without (list "api-rest" "async-worker") .name -}}
{{- if gt (include "platform.likeness" (dict "one" $.name "other" $name) | int) 60 -}}
, or did you mean components.{{ $name }}?
{{- end -}}
{{- end -}}
{{- else if not (or $image.tag $image.digest) }}
{{ .path }}.image: it has neither a tag nor a digest; set one of them
{{- end -}}
{{- $longest := get (dict "StatefulSet" 52 "CronJob" 52 "Job" 54) .component.kind | default 63 -}}
{{- $full := printf "%s-%s" (include "platform.fullname" .root) .name -}}
{{- if gt (len $full) $longest }}
{{ .path }}: {{ $full }} has {{ len $full }} characters, and a {{ .component.kind }}'s name may have
{{- printf " %d; shorten it, or set fullnameOverride" $longest }}
{{- end -}}
{{- if has .name (include "platform.reservedNames" .root | fromJsonArray) }}
{{ .path }}: the chart has objects of this name; choose another one
{{- end -}}
{{- if gt (len .component.capacityType) 1 }}
{{ .path }}.capacityType: it has {{ keys .component.capacityType | sortAlpha | join " and " }}
{{- print "; keep one (null removes one)" }}
{{- end -}}
{{- $labels := include "platform.podLabels" . | fromYaml -}}
{{- range $label := keys .component.podLabels | sortAlpha -}}
{{- if hasKey $labels $label }}
{{ $.path }}.podLabels: the chart sets {{ $label }}; remove it
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names of the chart's own objects, which no component may have, as a JSON list. (root) */}}
{{- define "platform.reservedNames" -}}
{{- $names := list -}}
{{- if .Values.kafka.enabled -}}
{{- $names = concat $names (list "kafka" "kafka-headless" "kafka-topics") -}}
{{- $names = concat $names (list "kafka-ca" "kafka-ca-key" "kafka-tls") -}}
{{- end -}}
{{- if .Values.database.enabled -}}
{{- $names = concat $names (list "database" "database-headless") -}}
{{- $names = concat $names (list "database-ca" "database-ca-key" "database-tls") -}}
{{- range keys (include "platform.database.accounts" . | fromJson) -}}
{{- $names = append $names (printf "database-%s" .) -}}
{{- end -}}
{{- end -}}
{{- if include "platform.token.used" . -}}
{{- $names = append $names "token" -}}
{{- end -}}
{{- if include "platform.tls.components" . | fromJsonArray -}}
{{- $names = concat $names (list "tls" "ca" "ca-key" "proxy") -}}
{{- end -}}
{{- if include "platform.tests.enabled" . -}}
{{- $names = append $names "test" -}}
{{- end -}}
{{- if .Values.monitoring.dashboard.enabled -}}
{{- $names = append $names "dashboard" -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "platform.validate.component.ports" -}}
{{- $ports := .component.ports -}}
{{- include "platform.validate.samePorts" (dict "ports" $ports "path" (printf "%s.ports" .path)) -}}
{{- range $probe, $settings := .component.probes -}}
{{- $path := printf "%s.probes.%s" $.path $probe -}}
{{- $handlers := list "httpGet" "tcpSocket" "exec" "grpc" -}}
{{- include "platform.validate.exactlyOne" (dict "map" $settings "keys" $handlers "path" $path) -}}
{{- if and (ne $probe "readiness") (ne (int ($settings.successThreshold | default 1)) 1) }}
{{ $path }}.successThreshold: only a readiness probe may have another value than 1
{{- end -}}
{{- range $handler := without $handlers "exec" -}}
{{- with get $settings $handler -}}
{{- $reference := dict "component" $.component "port" .port -}}
{{- $_ := set $reference "path" (printf "%s.%s.port" $path $handler) -}}
{{- include "platform.validate.portReference" $reference -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .component.metrics.port -}}
{{- /* With TLS, https is the proxy's port. */ -}}
{{- if not (and (eq (toString .) "https") $.component.tls.enabled) -}}
{{- $path := printf "%s.metrics.port" $.path -}}
{{- $reference := dict "component" $.component "port" . "path" $path -}}
{{- include "platform.validate.portReference" $reference -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails unless a map has exactly one of these keys. (dict map keys path) */}}
{{- define "platform.validate.exactlyOne" -}}
{{- $present := list -}}
{{- range .keys -}}
{{- if hasKey $.map . -}}
{{- $present = append $present . -}}
{{- end -}}
{{- end -}}
{{- if ne (len $present) 1 }}
{{ .path }}: it has {{ join " and " $present | default "none" }}; set exactly one of
{{- printf " %s (null removes one)" (join ", " .keys) }}
{{- end -}}
{{- end -}}

{{/* Fails if two ports have the same number and protocol. (dict ports path) */}}
{{- define "platform.validate.samePorts" -}}
{{- $names := dict -}}
{{- range $name, $port := .ports -}}
{{- $number := printf "%v/%s" $port.port $port.protocol -}}
{{- if hasKey $names $number }}
{{ $.path }}: {{ get $names $number }} and {{ $name }} are both {{ $number }}
{{- end -}}
{{- $_ := set $names $number $name -}}
{{- end -}}
{{- end -}}

{{/*
Fails unless a port, by name or number, is one of the component's. A number may also be a port of
the user's own containers. (dict component port path)
*/}}
{{- define "platform.validate.portReference" -}}
{{- $component := .component -}}
{{- $ports := keys $component.ports | sortAlpha -}}
{{- $unchecked := false -}}
{{- if not (kindIs "string" .port) -}}
{{- $unchecked = or $component.extraContainers $component.initContainers -}}
{{- $ports = list -}}
{{- range $component.ports -}}
{{- $ports = append $ports (toString .port) -}}
{{- end -}}
{{- end -}}
{{- if not (or $unchecked (has (toString .port) $ports)) }}
{{ .path }}: {{ .port }} is none of the component's ports ({{ join ", " $ports | default "none" }})
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.service" -}}
{{- $service := .component.service -}}
{{- $tls := .component.tls.enabled -}}
{{- if not $service.enabled -}}
{{- if $tls }}
{{ .path }}.tls.enabled: TLS needs a Service; set service.enabled to true
{{- end -}}
{{- else -}}
{{- $ports := $service.ports | default dict -}}
{{- $https := get $ports "https" | default 443 -}}
{{- if kindIs "map" $https -}}
{{- $https = $https.port -}}
{{- end -}}
{{- if and $tls (or (omit $ports "https") (ne (int $https) 443)) }}
{{ .path }}.service.ports: with tls.enabled the Service has port 443 only; remove all but
{{- print " {https: {port: 443}}" }}
{{- end -}}
{{- if not (or $tls $service.ports .component.ports) }}
{{ .path }}.service: it has no ports; set the component's ports
{{- end -}}
{{- if and $service.headless (or $tls (ne $service.type "ClusterIP")) }}
{{ .path }}.service.headless: a headless Service has type ClusterIP and no TLS
{{- end -}}
{{- if not $tls -}}
{{- include "platform.validate.component.servicePorts" . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.servicePorts" -}}
{{- $component := .component -}}
{{- $service := $component.service -}}
{{- $headless := eq (include "platform.component.headless" .) "true" -}}
{{- $ports := include "platform.component.servicePorts" . | fromJson -}}
{{- $path := printf "%s.service.ports" .path -}}
{{- include "platform.validate.samePorts" (dict "ports" $ports "path" $path) -}}
{{- range $name, $port := $ports -}}
{{- $reference := dict "component" $component "port" $port.targetPort -}}
{{- $_ := set $reference "path" (printf "%s.%s" $path $name) -}}
{{- $mistake := include "platform.validate.portReference" $reference -}}
{{- $mistake -}}
{{- if and $headless (not $mistake) -}}
{{- $target := include "platform.component.portNumber" $reference -}}
{{- if ne (int $target) (int $port.port) }}
{{ $reference.path }}: a headless Service cannot map {{ $port.port }} to {{ $target }}
{{- print "; use the same number, or set service.headless to false" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.variables" -}}
{{- $component := .component -}}
{{- range $variable, $secret := $component.secrets -}}
{{- $path := printf "%s.secrets.%s" $.path $variable -}}
{{- $sources := list "secret" "value" "from" -}}
{{- include "platform.validate.exactlyOne" (dict "map" $secret "keys" $sources "path" $path) -}}
{{- if $secret.from -}}
{{- $key := $secret.key | default $variable -}}
{{- if not (hasKey (dig $secret.from "secrets" $key dict $.components) "value") }}
{{ $path }}: {{ $secret.from }} has no secret {{ $key }} by value
{{- printf "; set components.%s.secrets.%s.value" $secret.from $key }}
{{- end -}}
{{- end -}}
{{- if hasKey $component.env $variable }}
{{ $path }}: {{ $variable }} is also in env; remove one of them
{{- end -}}
{{- end -}}
{{- range $setting, $variable := omit $component.variables "environment" -}}
{{- range $map := list "env" "config" "secrets" -}}
{{- if and $variable (hasKey (get $component $map) $variable) }}
{{ $.path }}.{{ $map }}.{{ $variable }}: set {{ $.path }}.shutdown.{{ $setting }} instead
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.mounts" -}}
{{- $component := .component -}}
{{- $own := list -}}
{{- range include "platform.component.chartVolumes" . | fromJsonArray -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- $mounted := dict -}}
{{- range $kind := list "volumes" "claims" -}}
{{- range $name, $source := get $component $kind -}}
{{- $path := printf "%s.%s.%s" $.path $kind $name -}}
{{- if has $name $own }}
{{ $path }}: the chart adds a volume of this name; rename it
{{- end -}}
{{- if not $source.mountPath }}
{{ $path }}.mountPath: it is empty; set a path in the container
{{- else if hasKey $mounted $source.mountPath }}
{{ $path }}.mountPath: {{ get $mounted $source.mountPath }} is also at {{ $source.mountPath }}
{{- end -}}
{{- $_ := set $mounted ($source.mountPath | default $name) (printf "%s.%s" $kind $name) -}}
{{- end -}}
{{- end -}}
{{- $sources := list "emptyDir" "files" "secretFiles" "configMap" "secret" "claim" "source" -}}
{{- range $name, $volume := $component.volumes -}}
{{- $path := printf "%s.volumes.%s" $.path $name -}}
{{- include "platform.validate.exactlyOne" (dict "map" $volume "keys" $sources "path" $path) -}}
{{- if hasKey $component.claims $name }}
{{ $path }}: a claim has this name too; rename one of them
{{- end -}}
{{- end -}}
{{- range $name, $claim := $component.claims -}}
{{- $path := printf "%s.claims.%s" $.path $name -}}
{{- if eq (not $claim.size) (not $claim.existingClaim) }}
{{ $path }}: set either size or existingClaim
{{- end -}}
{{- $shared := $claim.existingClaim -}}
{{- range $claim.accessModes -}}
{{- $shared = or $shared (has . (list "ReadWriteMany" "ReadOnlyMany")) -}}
{{- end -}}
{{- if and (eq $component.kind "DaemonSet") (not $shared) }}
{{ $path }}: only one node can mount it, and a DaemonSet has pods on all
{{- print "; use accessModes [ReadWriteMany]" }}
{{- else if and (eq $component.kind "Deployment") (not $shared) -}}
{{- if or $component.scaling.enabled (gt (int $component.replicas) 1) }}
{{ $path }}: only one node can mount it, and the Deployment has several pods
{{- print "; use kind StatefulSet, or accessModes [ReadWriteMany]" }}
{{- else if ne $component.rollout.strategy "Recreate" }}
{{ $path }}: only one node can mount it, so the old and the new pod would wait for each other
{{- print "; use kind StatefulSet, or rollout.strategy Recreate" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.scale" -}}
{{- $component := .component -}}
{{- $scaling := $component.scaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.min) (int $scaling.max) }}
{{ .path }}.scaling: min ({{ $scaling.min }}) is more than max ({{ $scaling.max }})
{{- end -}}
{{- if not (or $scaling.cpu $scaling.memory $scaling.metrics $scaling.kafka.topic) }}
{{ .path }}.scaling: set cpu, memory, metrics or kafka to scale by
{{- end -}}
{{- range $resource := list "cpu" "memory" -}}
{{- if and (get $scaling $resource) (not (dig "requests" $resource "" $component.resources)) }}
{{ $.path }}.scaling.{{ $resource }}: it needs resources.requests.{{ $resource }}; set that
{{- end -}}
{{- end -}}
{{- end -}}
{{- $budget := $component.disruptionBudget -}}
{{- $replicas := int (include "platform.component.minReplicas" .) -}}
{{- if and $budget.enabled (gt $replicas 1) -}}
{{- if hasKey $budget "minAvailable" -}}
{{- $count := toString $budget.minAvailable -}}
{{- $all := and (not (hasSuffix "%" $count)) (ge (int $budget.minAvailable) $replicas) -}}
{{- if or (eq $count "100%") $all }}
{{ .path }}.disruptionBudget.minAvailable: {{ $count }} of {{ $replicas }} pods block every drain
{{- end -}}
{{- else if has (toString $budget.maxUnavailable) (list "0" "0%") }}
{{ .path }}.disruptionBudget.maxUnavailable: 0 blocks every drain
{{- end -}}
{{- end -}}
{{- include "platform.validate.component.rollout" . -}}
{{- end -}}

{{- define "platform.validate.component.rollout" -}}
{{- $component := .component -}}
{{- $rollout := $component.rollout -}}
{{- $deployment := eq $component.kind "Deployment" -}}
{{- $strategies := list "RollingUpdate" (ternary "Recreate" "OnDelete" $deployment) -}}
{{- if not (has $rollout.strategy $strategies) }}
{{ .path }}.rollout.strategy: a {{ $component.kind }} has {{ join " or " $strategies }}
{{- end -}}
{{- if $deployment -}}
{{- $zero := list "0" "0%" -}}
{{- $surges := not (has (toString $rollout.maxSurge) $zero) -}}
{{- $shrinks := not (has (toString $rollout.maxUnavailable) $zero) -}}
{{- if and (eq $rollout.strategy "RollingUpdate") (not (or $surges $shrinks)) }}
{{ .path }}.rollout: maxSurge and maxUnavailable are both 0, so no pod could be replaced
{{- end -}}
{{- $deadline := int $rollout.progressDeadlineSeconds -}}
{{- if ge (int $rollout.minReadySeconds) $deadline }}
{{ .path }}.rollout.minReadySeconds: it is not less than progressDeadlineSeconds ({{ $deadline }})
{{- end -}}
{{- end -}}
{{- $kubernetes := .root.Capabilities.KubeVersion.Version -}}
{{- $sleeps := and $component.shutdown.linger (not $component.variables.linger) -}}
{{- if and $sleeps (not $component.lifecycle.preStop) -}}
{{- if not (semverCompare ">=1.30.0-0" $kubernetes) }}
{{ .path }}.shutdown.linger: it needs Kubernetes 1.30, and this is {{ $kubernetes }}
{{- print "; set variables.linger or lifecycle.preStop" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.component.peers" -}}
{{- range $direction := list "from" "to" -}}
{{- range $peer := get $.component.networkPolicy $direction -}}
{{- if not (hasKey $.components $peer) }}
{{ $.path }}.networkPolicy.{{ $direction }}: there is no component {{ $peer }}
{{- printf " (%s)" (keys $.components | sortAlpha | join ", ") }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
