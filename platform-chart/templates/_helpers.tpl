{{/*
Names, labels and what all pods share.
The parentheses at the end of a comment name the argument: (root), or the keys of a dict.
*/}}

{{/* The prefix of every object's name. (root) */}}
{{- define "platform.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of an object: platform-kafka. (dict root name) */}}
{{- define "platform.name" -}}
{{- printf "%s-%s" (include "platform.fullname" .root) .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The host names of a Service, as a JSON list. (dict root name domain) */}}
{{- define "platform.hosts" -}}
{{- $service := include "platform.name" . -}}
{{- $hosts := list $service -}}
{{- range list "" ".svc" (printf ".svc.%s" .domain) -}}
{{- $hosts = append $hosts (printf "%s.%s%s" $service $.root.Release.Namespace .) -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* The labels that select pods. They never change while a release exists. (dict root name) */}}
{{- define "platform.selectorLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/*
The labels of every object. The chart's version is not among them: pods have these labels, and a
changed label restarts them. (dict root name)
*/}}
{{- define "platform.labels" -}}
{{ include "platform.selectorLabels" . }}
app.kubernetes.io/part-of: {{ include "platform.fullname" .root }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* An object's name, by default that of its part, and its labels. (dict root name object) */}}
{{- define "platform.metadata" -}}
name: {{ .object | default (include "platform.name" .) }}
labels:
  {{- include "platform.labels" . | nindent 2 }}
{{- end -}}

{{/* An image's reference: by digest if it has one, else by tag. (dict image) */}}
{{- define "platform.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | toString) -}}
{{- end -}}
{{- end -}}

{{/* What the spec of every pod has. (root) */}}
{{- define "platform.podDefaults" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* nodeSelector, tolerations and affinity of a pod's spec, as far as they are set. (map) */}}
{{- define "platform.scheduling" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" -}}
{{- with get $ $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The security context that Pod Security "restricted" requires of a pod. (dict user) */}}
{{- define "platform.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The security context that it requires of each container. */}}
{{- define "platform.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
