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

{{/*
A self-signed CA and a certificate, in three Secrets: `secret` for the server, `ca` with ca.crt for
clients, and `caKey`, which no pod mounts. Helm can create certificates but not read them, so
annotations note their names and expiry. A renewed certificate has the same CA, and a renewed CA the
same key and name. So clients with an older ca.crt still verify it, unless one Helm was built by Go
1.24 or older and the other was not: they derive different identifiers from a key. Keys are ECDSA,
or RSA for Kafka, which reads no other key of Helm's. `earlier` is a CA of an earlier chart, if any.
(dict root name secret ca caKey subject names settings rsa earlier)
*/}}
{{- define "platform.selfSigned" -}}
{{- $settings := .settings -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $names := .names -}}
{{- $now := now | unixEpoch | int64 -}}
{{- $day := 86400 -}}
{{- $expiryKey := "shipay.com.br/certificate-expires" -}}
{{- $namesKey := "shipay.com.br/certificate-names" -}}

{{- $existing := lookup "v1" "Secret" $namespace .caKey -}}
{{- $annotations := dig "metadata" "annotations" (dict) $existing -}}
{{- $earlier := .earlier | default (dict "crt" "" "key" "" "expires" "") -}}
{{- $caKey := dig "data" "tls.key" "" $existing | default $earlier.key | b64dec -}}
{{- $caCrt := dig "data" "tls.crt" "" $existing | default $earlier.crt | b64dec -}}
{{- $caExpires := get $annotations $expiryKey | default $earlier.expires -}}
{{- $seconds := 0 -}}
{{- if and $caKey $caCrt $caExpires -}}
{{- $seconds = sub (toDate "2006-01-02" $caExpires | unixEpoch | int64) $now -}}
{{- end -}}
{{- $newCA := not $caKey -}}
{{- if lt (int64 $seconds) (mul $day (add $settings.days $settings.renewBeforeDays)) -}}
{{- $days := int $settings.caDays -}}
{{- $ca := dict -}}
{{- if and $newCA .rsa -}}
{{- $ca = genCA .subject $days -}}
{{- else -}}
{{- $ca = genCAWithKey .subject $days ($caKey | default (genPrivateKey "ecdsa")) -}}
{{- end -}}
{{- $caKey = $ca.Key -}}
{{- $caCrt = $ca.Cert -}}
{{- $expiry := now | dateModify (printf "+%dh" (mul 24 $days)) -}}
{{- $caExpires = dateInZone "2006-01-02" $expiry "UTC" -}}
{{- end -}}

{{- $existing = lookup "v1" "Secret" $namespace .secret -}}
{{- $annotations = dig "metadata" "annotations" (dict) $existing -}}
{{- $key := dig "data" "tls.key" "" $existing | b64dec -}}
{{- $crt := dig "data" "tls.crt" "" $existing | b64dec -}}
{{- $expires := get $annotations $expiryKey -}}
{{- $sameNames := eq (get $annotations $namesKey) (join "," $names) -}}
{{- $valid := and (not $newCA) $key $crt $expires $sameNames -}}
{{- if $valid -}}
{{- $seconds = sub (toDate "2006-01-02" $expires | unixEpoch | int64) $now -}}
{{- $valid = ge (int64 $seconds) (mul $day $settings.renewBeforeDays) -}}
{{- end -}}
{{- if not $valid -}}
{{- $ca := buildCustomCert ($caCrt | b64enc) ($caKey | b64enc) -}}
{{- $subject := first $names | trunc 64 -}}
{{- $days := int $settings.days -}}
{{- $new := dict -}}
{{- if .rsa -}}
{{- $new = genSignedCert $subject nil $names $days $ca -}}
{{- else -}}
{{- $new = genSignedCertWithKey $subject nil $names $days $ca (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- $key = $new.Key -}}
{{- $crt = $new.Cert -}}
{{- $expiry := now | dateModify (printf "+%dh" (mul 24 $days)) -}}
{{- $expires = dateInZone "2006-01-02" $expiry "UTC" -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "platform.metadata" (merge (dict "object" .caKey) .) | nindent 2 }}
  annotations:
    {{ $expiryKey }}: {{ $caExpires | quote }}
type: kubernetes.io/tls
data:
  tls.crt: {{ $caCrt | b64enc }}
  tls.key: {{ $caKey | b64enc }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "platform.metadata" (merge (dict "object" .ca) .) | nindent 2 }}
type: Opaque
data:
  ca.crt: {{ $caCrt | b64enc }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "platform.metadata" (merge (dict "object" .secret) .) | nindent 2 }}
  annotations:
    {{ $expiryKey }}: {{ $expires | quote }}
    {{ $namesKey }}: {{ join "," $names | quote }}
# The type of an existing Secret cannot change.
type: {{ $existing.type | default "kubernetes.io/tls" }}
data:
  ca.crt: {{ $caCrt | b64enc }}
  tls.crt: {{ $crt | b64enc }}
  tls.key: {{ $key | b64enc }}
{{- end -}}

{{/* Whatever would be generated although generateSecrets is false, one mistake a line. (root) */}}
{{- define "platform.validate.generated" -}}
{{- if not .Values.generateSecrets -}}
{{- $values := .Values -}}
{{- $missing := dict -}}
{{- if and $values.tls.selfSigned.enabled (include "platform.tls.components" . | fromJsonArray) -}}
{{- $_ := set $missing "tls.selfSigned" "disable it; set tls.existingSecret or tls.certManager" -}}
{{- end -}}
{{- if and (include "platform.token.used" .) (not $values.token.existingSecret) -}}
{{- $_ := set $missing "token.existingSecret" "name a Secret with token and tokens" -}}
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
{{- if and $values.database.tls.enabled (not $values.database.tls.existingSecret) -}}
{{- $keys := "tls.crt, tls.key and ca.crt" -}}
{{- $_ := set $missing "database.tls.existingSecret" (printf "name a Secret with %s" $keys) -}}
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
