{{/* The bearer token that may write to api-rest, for components with `uses: [token]`. */}}

{{/* Prints "true" if a component uses the token. (root) */}}
{{- define "platform.token.used" -}}
{{- range include "platform.components" . | fromJson -}}
{{- if has "token" .uses -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secret with token, and with tokens, the file that api-rest reads. (root) */}}
{{- define "platform.token.secret" -}}
{{- $default := include "platform.name" (dict "root" . "name" "token") -}}
{{- .Values.token.existingSecret | default $default -}}
{{- end -}}
