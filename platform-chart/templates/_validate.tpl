{{/*
The values are compared with schema.json, then with each other. Each part prints its mistakes, one a
line as `path: what is wrong; what to do`. All are reported together.
*/}}

{{/* Fails with every mistake, or prints nothing. (root) */}}
{{- define "platform.validate" -}}
{{- $schema := .Files.Get "schema.json" | fromJson -}}
{{- $values := .Values | toJson | fromJson -}}
{{- $report := dict "defs" (get $schema "$defs") "mistakes" list "unknown" list -}}
{{- $types := dict "string" "string" "bool" "boolean" "float64" "number" -}}
{{- $_ := merge $types (dict "map" "object" "slice" "array" "invalid" "null") -}}
{{- $_ := merge $report (dict "unsound" list "broken" list "types" $types) -}}
{{- $node := dict "value" $values "schema" $schema "path" "" "report" $report -}}
{{- include "platform.schema.compare" $node -}}
{{- $mistakes := uniq $report.mistakes -}}
{{- /* What does not fit the schema is not compared with others, which would hide its cause. */ -}}
{{- $unsound := list -}}
{{- range concat $report.unsound $report.broken -}}
{{- $unsound = append $unsound (regexFind "^(components[.][^.]+|[^.]+)" .) -}}
{{- end -}}
{{- $root := omit . "Values" | merge (dict "Values" $values) -}}
{{- $follows := printf "^(%s)[.:]" (join "|" (append $unsound "[$]") | replace "." "[.]") -}}
{{- $parts := list "labels" "tls" "tests" "components" "names" "backends" "generated" "live" -}}
{{- $parts = concat $parts (list "resources" "monitoring" "cluster") -}}
{{- range $part := $parts -}}
{{- range include (printf "platform.validate.%s" $part) $root | splitList "\n" -}}
{{- if and (trim .) (not (regexMatch $follows .)) -}}
{{- $mistakes = append $mistakes (trim .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $mistakes -}}
{{- $count := ternary "one mistake" (printf "%d mistakes" (len .)) (eq (len .) 1) -}}
{{- $message := printf "%s in the values:\n\n  - %s\n" $count (join "\n  - " .) -}}
{{- fail (printf "\n\n%s" $message) -}}
{{- /* `helm lint` goes on after `fail`, but not after a template that does not exist. */ -}}
{{- include $message . -}}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.validate.labels" -}}
{{- $own := dict "root" (merge (dict "Values" (omit .Values "commonLabels")) (omit . "Values")) -}}
{{- $labels := include "platform.labels" (merge $own (dict "name" "any")) | fromYaml -}}
{{- range $label := keys (.Values.commonLabels | default dict) | sortAlpha -}}
{{- if hasKey $labels $label }}
commonLabels: the chart sets {{ $label }}; remove it
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.validate.tls" -}}
{{- $tls := .Values.tls -}}
{{- $names := include "platform.tls.components" . | fromJsonArray -}}
{{- $sources := compact (list
  (ternary "" "existingSecret" (empty $tls.existingSecret))
  (ternary "certManager" "" $tls.certManager.enabled)
  (ternary "selfSigned" "" $tls.selfSigned.enabled)
) -}}
{{- if gt (len $sources) 1 }}
tls: {{ join " and " $sources }} are set; keep one (the others: existingSecret "", enabled false)
{{- else if and $names (not $sources) }}
tls: no certificate for {{ join ", " $names }}; set existingSecret, certManager or selfSigned
{{- end -}}
{{- with $tls.certManager -}}
{{- if .enabled -}}
{{- if not .issuerRef.name }}
tls.certManager.issuerRef.name: it is empty; name an Issuer or ClusterIssuer
{{- end -}}
{{- if ge (trimSuffix "h" .renewBefore | int) (trimSuffix "h" .duration | int) }}
tls.certManager.renewBefore: {{ .renewBefore }} is not less than duration ({{ .duration }})
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $tls.selfSigned -}}
{{- if .enabled -}}
{{- if ge (int .renewBeforeDays) (int .days) }}
tls.selfSigned.renewBeforeDays: {{ .renewBeforeDays }} is not less than days ({{ .days }})
{{- end -}}
{{- if le (int .caDays) (add .days .renewBeforeDays | int) }}
tls.selfSigned.caDays: {{ .caDays }} is not more than days and renewBeforeDays together
{{- end -}}
{{- if $tls.publicCA }}
tls.publicCA: the CA of a self-signed certificate is not public; set it to false
{{- end -}}
{{- end -}}
{{- end -}}
{{- $components := include "platform.components" . | fromJson -}}
{{- range $name := $names -}}
{{- $component := get $components $name -}}
{{- $path := printf "components.%s.tls.backendPort" $name -}}
{{- $port := $component.tls.backendPort -}}
{{- if not $port }}
{{ $path }}: it is empty; set the app's port, by name or number
{{- else if and (kindIs "string" $port) (not (hasKey $component.ports $port)) }}
{{ $path }}: there is no port {{ $port }}; name one of
{{- printf " %s" (keys $component.ports | sortAlpha | join ", ") }}
{{- else -}}
{{- $number := include "platform.tls.backendPort" (dict "component" $component) | int -}}
{{- if has $number (list 8443 8404 8405 8406) }}
{{ $path }}: the proxy listens on 8443 and 8404 to 8406; use another port
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.validate.tests" -}}
{{- $drift := .Values.drift -}}
{{- $secured := include "platform.tls.components" . | fromJsonArray -}}
{{- if and $drift.enabled (not (has $drift.component $secured)) }}
drift.component: {{ $drift.component }} has no TLS; set its tls.enabled, or drift.enabled to false
{{- end -}}
{{- $tests := .Values.tests -}}
{{- $name := $tests.component -}}
{{- /* The default may be missing: api-rest may have been removed. */ -}}
{{- if and $tests.enabled (ne $name "api-rest") (not (hasKey .Values.components $name)) }}
tests.component: there is no component {{ $name }}; name one, or set tests.enabled to false
{{- end -}}
{{- if and $tests.image.repository (not (or $tests.image.tag $tests.image.digest)) }}
tests.image: it has neither a tag nor a digest; set one of them
{{- end -}}
{{- end -}}
