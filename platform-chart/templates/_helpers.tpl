{{/*
Names, labels and what all pods share.
The parentheses at the end of a comment name the argument: (root), or the keys of a dict.
*/}}

{{/*
The prefix of every object's name: at most 40 characters, since the longest name of the chart has 23
more. A longer one ends in its hash, so that two releases that begin alike stay two. (root)
*/}}
{{- define "platform.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if gt (len $name) 40 -}}
{{- printf "%s-%s" (trunc 31 $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- trimSuffix "-" $name -}}
{{- end -}}
{{- end -}}

{{/*
The name of an object: platform-kafka. The schema and the validation refuse one of more than 63
characters. (dict root name)
*/}}
{{- define "platform.name" -}}
{{- printf "%s-%s" (include "platform.fullname" .root) .name -}}
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

{{/* The labels of every object but pods. (dict root name) */}}
{{- define "platform.labels" -}}
{{ include "platform.podLabels" . }}
app.kubernetes.io/component: {{ .name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The labels of a component's pods: none that changes with the chart and restarts them. */}}
{{- define "platform.podLabels" -}}
{{ include "platform.backendPodLabels" . }}
app.kubernetes.io/part-of: {{ include "platform.fullname" .root }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* The labels of the pods of Kafka and the database. (dict root name) */}}
{{- define "platform.backendPodLabels" -}}
{{ include "platform.selectorLabels" . }}
{{- with .root.Values.commonLabels }}
{{ include "platform.texts" . | fromJson | toYaml }}
{{- end }}
{{- end -}}

{{/*
An object's name, by default that of its part, its labels, of which `labels` has more, and its
annotations. (dict root name object labels annotations)
*/}}
{{- define "platform.metadata" -}}
name: {{ .object | default (include "platform.name" .) }}
labels:
  {{- $own := include "platform.texts" (.labels | default dict) | fromJson }}
  {{- merge (include "platform.labels" . | fromYaml) $own | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- include "platform.texts" . | fromJson | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's reference: by digest if it has one, else by tag. (dict root image) */}}
{{- define "platform.image" -}}
{{- $reference := printf "%s:%s" .image.repository (.image.tag | toString) -}}
{{- if .image.digest -}}
{{- $reference = printf "%s@%s" .image.repository .image.digest -}}
{{- end -}}
{{- include "platform.mirrored" (dict "root" .root "reference" $reference) -}}
{{- end -}}

{{/*
A reference to an image, with image.registry instead of its own registry. Its first part is a
registry if it has a dot or a port, or is localhost. (dict root reference)
*/}}
{{- define "platform.mirrored" -}}
{{- $registry := .root.Values.image.registry -}}
{{- if $registry -}}
{{- $own := regexFind "^(localhost|[^/]*[.:][^/]*)/" .reference -}}
{{- printf "%s/%s" $registry (trimPrefix $own .reference) -}}
{{- else -}}
{{- .reference -}}
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

{{/* A quantity of Kubernetes' as a number; nothing if it is none. (quantity) */}}
{{- define "platform.quantity" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- range $power, $unit := list "Ki" "Mi" "Gi" "Ti" "Pi" "Ei" -}}
{{- $bytes := 1.0 -}}
{{- range until (add $power 1 | int) -}}
{{- $bytes = mulf $bytes 1024.0 -}}
{{- end -}}
{{- $_ := set $units $unit $bytes -}}
{{- end -}}
{{- $quantity := include "platform.text" . -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $quantity -}}
{{- $unit := trimPrefix $number $quantity -}}
{{- if and $number (hasKey $units $unit) -}}
{{- mulf (float64 $number) (get $units $unit) | printf "%f" -}}
{{- end -}}
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
