{{/* A component's values, made whole: every template of a component starts here. */}}

{{/*
The components that are enabled, as JSON: name to values, each over componentDefaults. What a user set to null is empty, or gone, as if
it had never been a default. (root)
*/}}
{{- define "platform.components" -}}
{{- $components := dict -}}
{{- range $name, $own := .Values.components -}}
{{- if kindIs "map" $own -}}
{{- $component := mergeOverwrite (deepCopy $.Values.componentDefaults) (deepCopy $own) -}}
{{- range $key, $value := $own -}}
{{- if kindIs "invalid" $value -}}
{{- $kind := kindOf (get $.Values.componentDefaults $key) -}}
{{- $_ := set $component $key (ternary dict (ternary list "" (eq $kind "slice")) (eq $kind "map")) -}}
{{- end -}}
{{- end -}}
{{- include "platform.prune" $component -}}
{{- if $component.enabled -}}
{{- $_ := set $components $name $component -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $components -}}
{{- end -}}

{{/* Takes what is null out of a map, at every depth. Changes the map, prints nothing. (map) */}}
{{- define "platform.prune" -}}
{{- $map := . -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $key -}}
{{- else if kindIs "map" $value -}}
{{- include "platform.prune" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A scalar as text: 1000000, which Go would print as 1e+06. (scalar) */}}
{{- define "platform.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* A map of scalars with every value as text, as JSON. (map) */}}
{{- define "platform.texts" -}}
{{- $texts := dict -}}
{{- range $key, $value := . -}}
{{- $_ := set $texts $key (include "platform.text" $value) -}}
{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{/* How many pods a component has at the least. dict component */}}
{{- define "platform.component.fewest" -}}
{{- if .component.scaling.enabled -}}{{ .component.scaling.min }}{{- else -}}{{ .component.replicas }}{{- end -}}
{{- end -}}

{{/* The name of a component's service account. dict root name component */}}
{{- define "platform.component.serviceAccount" -}}
{{- if .component.serviceAccount.create -}}
{{- .component.serviceAccount.name | default (include "platform.name" .) -}}
{{- else -}}
{{- .component.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The text behind each variable of `secrets` that the chart's own Secrets hold, as JSON: variable to text. dict root component */}}
{{- define "platform.component.madeSecrets" -}}
{{- $made := dict -}}
{{- range $variable, $secret := .component.secrets -}}
{{- if hasKey $secret "value" -}}
{{- $_ := set $made $variable (include "platform.text" $secret.value) -}}
{{- else if $secret.from -}}
{{- $other := dig $secret.from "secrets" ($secret.key | default $variable) dict $.root.Values.components -}}
{{- $_ := set $made $variable (include "platform.text" (get $other "value")) -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* The ports of a component's Service, as JSON: name to {port, targetPort, protocol}. dict component */}}
{{- define "platform.component.servicePorts" -}}
{{- $ports := dict -}}
{{- if .component.tls.enabled -}}
{{- $_ := set $ports "https" (dict "port" 443 "targetPort" "https" "protocol" "TCP") -}}
{{- else if .component.service.ports -}}
{{- range $name, $given := .component.service.ports -}}
{{- $port := ternary $given (dict "port" $given) (kindIs "map" $given) -}}
{{- $own := dict -}}
{{- if hasKey $.component.ports $name -}}
{{- $own = get $.component.ports $name -}}
{{- $own = ternary $own (dict "port" $own) (kindIs "map" $own) -}}
{{- end -}}
{{- $protocol := $port.protocol | default $own.protocol | default "TCP" -}}
{{- $_ := set $ports $name (dict "port" $port.port "targetPort" ($port.targetPort | default $name) "protocol" $protocol) -}}
{{- end -}}
{{- else -}}
{{- range $name, $given := .component.ports -}}
{{- $port := ternary $given (dict "port" $given) (kindIs "map" $given) -}}
{{- $_ := set $ports $name (dict "port" $port.port "targetPort" $name "protocol" ($port.protocol | default "TCP")) -}}
{{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}
