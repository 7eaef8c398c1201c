{{/* The database: its names, what a client of it needs, and its configuration. All take the root, if they say nothing else. */}}

{{- define "platform.database.name" -}}
{{- include "platform.name" (dict "root" . "name" "database") -}}
{{- end -}}

{{- define "platform.database.headless" -}}
{{- include "platform.name" (dict "root" . "name" "database-headless") -}}
{{- end -}}

{{/* The Secret with username and password. */}}
{{- define "platform.database.secret" -}}
{{- if .Values.database.enabled -}}
{{- .Values.database.existingSecret | default (include "platform.database.name" .) -}}
{{- else -}}
{{- .Values.externalDatabase.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* What a component that uses the database finds in its environment. */}}
{{- define "platform.database.env" -}}
{{- $external := .Values.externalDatabase -}}
{{- $own := .Values.database.enabled -}}
- name: DB_HOST
  value: {{ ternary (include "platform.database.name" .) $external.host $own | quote }}
- name: DB_PORT
  value: {{ ternary 3306 $external.port $own | quote }}
- name: DB_DATABASE
  value: {{ ternary .Values.database.name $external.name $own | quote }}
- name: DB_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ include "platform.database.secret" . }}, key: username}
- name: DB_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "platform.database.secret" . }}, key: password}
{{- end -}}

{{/* The apps read the password from their environment and know no CA of a database: nothing to mount. */}}
{{- define "platform.database.volumes" -}}{{- end -}}
{{- define "platform.database.volumeMounts" -}}{{- end -}}

{{/* A Kubernetes quantity of bytes in whole MiB. (quantity) */}}
{{- define "platform.mebibytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $quantity := include "platform.text" . -}}
{{- $number := regexFind "^[0-9.]+" $quantity -}}
{{- divf (mulf (float64 $number) (get $units (trimPrefix $number $quantity))) 1048576.0 | floor | int64 -}}
{{- end -}}

{{/* my.cnf: sizes follow from the container's memory limit. */}}
{{- define "platform.database.configuration" -}}
{{- $database := .Values.database -}}
{{- $limit := include "platform.mebibytes" $database.resources.limits.memory | int64 -}}
[mariadbd]
# The image's defaults are for a machine of its own.
innodb_buffer_pool_size = {{ div (mul $limit $database.bufferPoolPercentage) 100 }}M
performance_schema = OFF
# What is committed is on the disk, also after a power cut.
innodb_flush_log_at_trx_commit = 1
# Addresses of pods change, and looking each one up costs time.
skip-name-resolve
{{- range $key, $value := $database.config }}
{{ $key }} = {{ include "platform.text" $value }}
{{- end }}
{{- end -}}
