{{/*
What the chart generates: passwords and self-signed certificates. Each is generated once and then
read from the cluster. Without a cluster, as in `helm template`, each run would generate others:
`generateSecrets: false` refuses that, and platform.validate.generated lists what to give instead.
*/}}

{{/* The data of a Secret in the cluster, in base64, as JSON; else empty. (dict root name) */}}
{{- define "platform.secretData" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- $secret.data | default dict | toJson -}}
{{- end -}}

{{/*
A password, in base64: the given value, else the one in the cluster, else a new one.
(dict root secret key value)
*/}}
{{- define "platform.password" -}}
{{- $existing := include "platform.secretData" (dict "root" .root "name" .secret) | fromJson -}}
{{- $given := .value | default "" | b64enc -}}
{{- $given | default (get $existing .key) | default (randAlphaNum 32 | b64enc) -}}
{{- end -}}

{{/* Whatever would be generated although generateSecrets is false, one mistake a line. (root) */}}
{{- define "platform.validate.generated" -}}
{{- if not .Values.generateSecrets -}}
{{- $values := .Values -}}
{{- $missing := dict -}}
{{- if and $values.tls.selfSigned.enabled (include "platform.tls.components" . | fromJsonArray) -}}
{{- $_ := set $missing "tls.selfSigned" "disable it; set tls.existingSecret or tls.certManager" -}}
{{- end -}}
{{- $kafka := $values.kafka -}}
{{- if and $kafka.enabled $kafka.auth.enabled (not $kafka.auth.existingSecret) -}}
{{- $keys := "username, password, broker-password and controller-password" -}}
{{- $_ := set $missing "kafka.auth.existingSecret" (printf "name a Secret with %s" $keys) -}}
{{- end -}}
{{- if and $kafka.enabled $kafka.tls.enabled -}}
{{- if not (or $kafka.tls.existingSecret $kafka.tls.certManager.enabled) -}}
{{- $keys := "tls.crt, tls.key and ca.crt, or set kafka.tls.certManager" -}}
{{- $_ := set $missing "kafka.tls.existingSecret" (printf "name a Secret with %s" $keys) -}}
{{- end -}}
{{- end -}}
{{- if $values.database.enabled -}}
{{- if not $values.database.existingSecret -}}
{{- $keys := "username, password and root-password" -}}
{{- $_ := set $missing "database.existingSecret" (printf "name a Secret with %s" $keys) -}}
{{- end -}}
{{- range $name, $account := include "platform.database.accounts" . | fromJson -}}
{{- if not (or $account.existingSecret $account.password) -}}
{{- $path := printf "database.accounts.%s.existingSecret" $name -}}
{{- $_ := set $missing $path "name a Secret with username and password" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $path, $way := $missing }}
{{ $path }}: generateSecrets is false; {{ $way }}
{{- end -}}
{{- end -}}
{{- end -}}
