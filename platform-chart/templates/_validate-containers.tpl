{{/* What the API server would refuse in containers, and what would keep them from running. */}}

{{/* (dict root name component components path) */}}
{{- define "platform.validate.component.containers" -}}
{{- $component := .component -}}
{{- $volumes := keys $component.claims -}}
{{- range include "platform.component.volumes" . | fromJsonArray -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $volumes = uniq $volumes | sortAlpha -}}
{{- $names := dict .name "the component's own container" -}}
{{- if $component.tls.enabled -}}
{{- $_ := set $names "proxy" "the chart's proxy" -}}
{{- end -}}
{{- include "platform.validate.requests" (dict "resources" $component.resources "path" .path) -}}
{{- range $list := list "initContainers" "extraContainers" -}}
{{- range $index, $container := get $component $list -}}
{{- $path := printf "%s.%s[%d]" $.path $list $index -}}
{{- if hasKey $names $container.name }}
{{ $path }}.name: {{ $container.name }} is {{ get $names $container.name }} too; choose another name
{{- end -}}
{{- $_ := set $names $container.name (printf "%s[%d]" $list $index) -}}
{{- range $container.volumeMounts -}}
{{- if not (has .name $volumes) }}
{{ $path }}.volumeMounts: there is no volume {{ .name }}; name one of
{{- printf " %s, or add it to volumes" (join ", " $volumes | default "none") }}
{{- end -}}
{{- end -}}
{{- $resources := $container.resources | default dict -}}
{{- include "platform.validate.requests" (dict "resources" $resources "path" $path) -}}
{{- /* The autoscaler needs the requests of every container that runs beside the app. */ -}}
{{- $sidecar := eq ($container.restartPolicy | default "") "Always" -}}
{{- $beside := or $sidecar (eq $list "extraContainers") -}}
{{- range $resource := list "cpu" "memory" -}}
{{- $scaled := and $component.scaling.enabled (get $component.scaling $resource) -}}
{{- if and $beside $scaled (not (dig "requests" $resource "" $resources)) }}
{{ $path }}.resources.requests.{{ $resource }}: scaling.{{ $resource }} needs it of every container
{{- print "; set it" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Requests above limits. (dict resources path) */}}
{{- define "platform.validate.requests" -}}
{{- range $name, $request := .resources.requests -}}
{{- $limit := get ($.resources.limits | default dict) $name -}}
{{- $wanted := include "platform.quantity" $request -}}
{{- $allowed := include "platform.quantity" $limit -}}
{{- if and $wanted $allowed (gt (float64 $wanted) (float64 $allowed)) }}
{{ $.path }}.resources.requests.{{ $name }}: {{ include "platform.text" $request }} is more than the
{{- printf " limit, %s; raise limits.%s too" (include "platform.text" $limit) $name }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The same outside of components. (root) */}}
{{- define "platform.validate.resources" -}}
{{- $values := .Values -}}
{{- $parts := dict "proxy" $values.proxy.resources "tests" $values.tests.resources -}}
{{- if $values.kafka.enabled -}}
{{- $_ := set $parts "kafka" $values.kafka.resources -}}
{{- $_ := set $parts "kafka.topicsJob" $values.kafka.topicsJob.resources -}}
{{- end -}}
{{- if $values.database.enabled -}}
{{- $_ := set $parts "database" $values.database.resources -}}
{{- end -}}
{{- range $path, $resources := $parts -}}
{{- with $resources -}}
{{- include "platform.validate.requests" (dict "resources" . "path" $path) -}}
{{- end -}}
{{- end -}}
{{- range $path := list "kafka" "database" "proxy" -}}
{{- $image := (index $values $path).image -}}
{{- if not (or $image.tag $image.digest) }}
{{ $path }}.image: it has neither a tag nor a digest; set one of them
{{- end -}}
{{- end -}}
{{- end -}}
