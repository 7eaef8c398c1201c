{{/*
Mistakes that no schema sees: values that do not fit together. Each part of the chart lists its own, one a line, `where: what; what to do`,
and nothing when all is well; they are reported together.
*/}}

{{/* Fails with every mistake, or prints nothing. (root) */}}
{{- define "platform.validate" -}}
{{- $mistakes := list -}}
{{- range $part := list "tls" "tests" "components" "backends" -}}
{{- range include (printf "platform.validate.%s" $part) $ | splitList "\n" -}}
{{- with trim . -}}
{{- $mistakes = append $mistakes (printf "  - %s" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $mistakes -}}
{{- $count := ternary "one mistake" (printf "%d mistakes" (len .)) (eq (len .) 1) -}}
{{- fail (printf "\n\n%s in the values:\n\n%s\n" $count (join "\n" .)) -}}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.validate.tls" -}}
{{- $tls := .Values.tls -}}
{{- $components := include "platform.tls.components" . | fromJsonArray -}}
{{- $sources := list -}}
{{- if $tls.existingSecret -}}{{- $sources = append $sources "existingSecret" -}}{{- end -}}
{{- if $tls.certManager.enabled -}}{{- $sources = append $sources "certManager" -}}{{- end -}}
{{- if $tls.selfSigned.enabled -}}{{- $sources = append $sources "selfSigned" -}}{{- end -}}
{{- if gt (len $sources) 1 }}
tls: the certificate would come from {{ join " and " $sources }}; keep one of them (for the other two: existingSecret "", enabled false)
{{- else if and $components (not $sources) }}
tls: {{ join ", " $components }} should speak TLS, but no certificate is named; set one of existingSecret, certManager.enabled, selfSigned.enabled, or turn components.NAME.tls.enabled off
{{- end -}}
{{- if $tls.certManager.enabled -}}
{{- if not $tls.certManager.issuerRef.name }}
tls.certManager.issuerRef.name: cert-manager has to know who signs; name an Issuer or ClusterIssuer
{{- end -}}
{{- if ge (trimSuffix "h" $tls.certManager.renewBefore | int) (trimSuffix "h" $tls.certManager.duration | int) }}
tls.certManager.renewBefore: {{ $tls.certManager.renewBefore }} is not shorter than the duration, {{ $tls.certManager.duration }}; the certificate would be renewed without end
{{- end -}}
{{- end -}}
{{- if $tls.selfSigned.enabled -}}
{{- if ge (int $tls.selfSigned.renewBeforeDays) (int $tls.selfSigned.days) }}
tls.selfSigned.renewBeforeDays: {{ $tls.selfSigned.renewBeforeDays }} is not less than days, {{ $tls.selfSigned.days }}; every upgrade would renew the certificate
{{- end -}}
{{- if le (int $tls.selfSigned.caDays) (add $tls.selfSigned.days $tls.selfSigned.renewBeforeDays | int) }}
tls.selfSigned.caDays: {{ $tls.selfSigned.caDays }} is not more than days and renewBeforeDays together; every upgrade would renew the CA
{{- end -}}
{{- if $tls.publicCA }}
tls.publicCA: nobody knows the CA of a self-signed certificate; set it to false
{{- end -}}
{{- end -}}
{{- if $components -}}
{{- range $taken := list "tls" "ca" "ca-key" "proxy" -}}
{{- if hasKey (include "platform.components" $ | fromJson) $taken }}
components.{{ $taken }}: the chart's own objects are called so; choose another name
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := $components -}}
{{- $component := get (include "platform.components" $ | fromJson) $name -}}
{{- $port := $component.tls.backendPort -}}
{{- if not $port }}
components.{{ $name }}.tls.backendPort: the proxy has to know where the app listens; name one of its ports, or a number
{{- else if and (kindIs "string" $port) (not (hasKey $component.ports $port)) }}
components.{{ $name }}.tls.backendPort: there is no port {{ $port }}; name one of {{ keys $component.ports | sortAlpha | join ", " }}, or a number
{{- else if has (include "platform.tls.backendPort" (dict "component" $component) | int) (list 8443 8404 8405 8406) }}
components.{{ $name }}.tls.backendPort: the proxy itself listens on 8443 and 8404 to 8406; have the app listen elsewhere
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.validate.tests" -}}
{{- $tests := .Values.tests -}}
{{- /* The default's component may have been taken out; one that somebody names has to be there. */ -}}
{{- if and $tests.enabled (ne $tests.component "api-rest") (not (hasKey .Values.components $tests.component)) }}
tests.component: there is no component {{ $tests.component }}; name one, or set tests.enabled to false
{{- end -}}
{{- if and $tests.image.repository (not (or $tests.image.tag $tests.image.digest)) }}
tests.image: it has neither a tag nor a digest
{{- end -}}
{{- end -}}
