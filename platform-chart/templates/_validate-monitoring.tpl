{{/* Monitors and rules that would have no effect. (root) */}}
{{- define "platform.validate.monitoring" -}}
{{- $monitoring := .Values.monitoring -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $monitoring.monitors.enabled $policy.enabled (not $policy.scrapers) }}
networkPolicy.scrapers: it is empty, so network policies block the monitors; name Prometheus'
{{- print " namespace, or set networkPolicy.enabled to false" }}
{{- end -}}
{{- if and $monitoring.rules.enabled (not $monitoring.monitors.enabled) }}
monitoring.rules.enabled: without monitors the alerts have no metrics; set
{{- print " monitoring.monitors.enabled to true" }}
{{- end -}}
{{- /* Without a cluster, Helm knows no kinds. */ -}}
{{- $kinds := .Capabilities.APIVersions -}}
{{- if and ($kinds.Has "apps/v1/Deployment") (not ($kinds.Has "monitoring.coreos.com/v1")) -}}
{{- range $part := list "monitors" "rules" -}}
{{- if (get $monitoring $part).enabled }}
monitoring.{{ $part }}.enabled: the cluster has no monitoring.coreos.com/v1; install the Prometheus
{{- print " operator, or set it to false" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
