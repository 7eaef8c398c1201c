{{/* Checks of what only some kinds have, and of what other controllers do for a component. */}}

{{- define "platform.validate.component.kind" -}}
{{- $component := .component -}}
{{- $kind := $component.kind -}}
{{- $isJob := hasSuffix "Job" $kind -}}
{{- if and (eq $kind "CronJob") (not $component.cronjob.schedule) }}
{{ .path }}.cronjob.schedule: it is empty; set when it runs, for example "0 3 * * *"
{{- else if and (ne $kind "CronJob") $component.cronjob }}
{{ .path }}.cronjob: a {{ $kind }} has none; set kind to CronJob, or remove it
{{- end -}}
{{- if and $component.job (not $isJob) }}
{{ .path }}.job: a {{ $kind }} has none; set kind to Job or CronJob, or remove it
{{- end -}}
{{- if and $component.scaling.enabled (not (has $kind (list "Deployment" "StatefulSet"))) }}
{{ .path }}.scaling.enabled: a {{ $kind }} cannot be scaled; set it to false
{{- end -}}
{{- if and (eq $kind "DaemonSet") (eq $component.rollout.strategy "RollingUpdate") -}}
{{- $surges := not (has (toString $component.rollout.maxSurge) (list "0" "0%")) -}}
{{- $shrinks := not (has (toString $component.rollout.maxUnavailable) (list "0" "0%")) -}}
{{- if eq $surges $shrinks }}
{{ .path }}.rollout: of a DaemonSet, one of maxSurge and maxUnavailable is 0, and not both
{{- end -}}
{{- end -}}
{{- $account := $component.serviceAccount -}}
{{- if and $account.rules (not $account.automountServiceAccountToken) }}
{{ .path }}.serviceAccount.rules: its pods have no token for them
{{- print "; set automountServiceAccountToken to true" }}
{{- end -}}
{{- end -}}

{{/* Prints "true" if a path or a rule leaves out where to forward to. (dict key settings) */}}
{{- define "platform.route.needsPort" -}}
{{- $needed := false -}}
{{- if eq .key "route" -}}
{{- range .settings.rules | default (list dict) -}}
{{- $needed = or $needed (not (hasKey . "backendRefs")) -}}
{{- end -}}
{{- else -}}
{{- range .settings.hosts -}}
{{- range .paths | default (list dict) -}}
{{- $needed = or $needed (not .port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- ternary "true" "" $needed -}}
{{- end -}}

{{/* Ingress, HTTPRoute and KEDA. */}}
{{- define "platform.validate.component.routes" -}}
{{- $component := .component -}}
{{- $policy := and .root.Values.networkPolicy.enabled $component.networkPolicy.enabled -}}
{{- $controllers := .root.Values.networkPolicy.controllers -}}
{{- range $key := list "ingress" "route" -}}
{{- if (get $component $key).enabled -}}
{{- if not $component.service.enabled }}
{{ $.path }}.{{ $key }}: it needs a Service; set service.enabled to true
{{- else if not (include "platform.component.defaultPort" $) -}}
{{- $settings := dict "key" $key "settings" (get $component $key) -}}
{{- if include "platform.route.needsPort" $settings }}
{{ $.path }}.{{ $key }}: none of the Service's ports is called http or https; rename one, or set
{{- printf " the %s" (ternary "port of each path" "backendRefs of each rule" (eq $key "ingress")) }}
{{- end -}}
{{- end -}}
{{- if and $policy (not $controllers) (not $component.networkPolicy.ingress) }}
{{ $.path }}.{{ $key }}: the NetworkPolicy blocks its controller; name it in
{{- print " networkPolicy.controllers" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $component.ingress.enabled (not $component.ingress.hosts) }}
{{ .path }}.ingress.hosts: it is empty; set [{host: NAME}]
{{- end -}}
{{- if and $component.route.enabled (not $component.route.parentRefs) }}
{{ .path }}.route.parentRefs: it is empty; name a Gateway
{{- end -}}
{{- $scaling := $component.scaling -}}
{{- if and $scaling.enabled $scaling.kafka.topic -}}
{{- $path := printf "%s.scaling" .path -}}
{{- if not $scaling.kafka.consumerGroup }}
{{ $path }}.kafka.consumerGroup: it is empty; name the group whose lag counts
{{- end -}}
{{- if not (has "kafka" $component.uses) }}
{{ $path }}.kafka: it needs Kafka; add kafka to uses
{{- end -}}
{{- if $scaling.metrics }}
{{ $path }}.metrics: KEDA has no such metrics; set kafka.topic to "", or remove them
{{- end -}}
{{- $kafka := .root.Values.kafka -}}
{{- if and .root.Values.networkPolicy.enabled $kafka.enabled (not $kafka.allowFrom) }}
{{ $path }}.kafka: Kafka's NetworkPolicy blocks KEDA; name it in kafka.allowFrom
{{- end -}}
{{- end -}}
{{- end -}}
