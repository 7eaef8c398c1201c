{{/* Who may talk to whom. Each function takes dict root name component and returns a JSON list of rules. */}}

{{- define "platform.component.ingress" -}}
{{- $part := . -}}
{{- $rules := list -}}
{{- $policy := .component.networkPolicy -}}
{{- if .component.service.enabled -}}
{{- $peers := list (dict "podSelector" dict) -}}
{{- with $policy.from -}}
{{- $peers = include "platform.component.peers" (dict "root" $part.root "names" .) | fromJsonArray -}}
{{- end -}}
{{- $ports := list -}}
{{- range $name, $port := include "platform.component.servicePorts" . | fromJson -}}
{{- $number := include "platform.component.portNumber" (dict "component" $part.component "port" $port.targetPort) | int -}}
{{- $ports = append $ports (dict "port" $number "protocol" $port.protocol) -}}
{{- end -}}
{{- $rules = append $rules (dict "from" $peers "ports" $ports) -}}
{{- end -}}
{{- with .component.metrics.port -}}
{{- if $part.root.Values.networkPolicy.scrapers -}}
{{- $number := include "platform.component.portNumber" (dict "component" $part.component "port" .) | int -}}
{{- $ports := list (dict "port" $number "protocol" "TCP") -}}
{{- if $part.component.tls.enabled -}}
{{- $ports = append $ports (dict "port" 8404 "protocol" "TCP") -}}{{/* the proxy's own metrics */}}
{{- end -}}
{{- $rules = append $rules (dict "from" $part.root.Values.networkPolicy.scrapers "ports" $ports) -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $rules $policy.ingress) -}}
{{- end -}}

{{- define "platform.component.egress" -}}
{{- $part := . -}}
{{- $shared := .root.Values.networkPolicy -}}
{{- $rules := list -}}
{{- $ports := list -}}
{{- range $port := $shared.dns.ports -}}
{{- range list "UDP" "TCP" -}}
{{- $ports = append $ports (dict "port" $port "protocol" .) -}}
{{- end -}}
{{- end -}}
{{- with $shared.dns.to -}}
{{- $rules = append $rules (dict "to" . "ports" $ports) -}}
{{- end -}}
{{- range .component.uses -}}
{{- $rules = append $rules (include "platform.component.backend" (dict "root" $part.root "name" .) | fromJson) -}}
{{- end -}}
{{- with .component.networkPolicy.to -}}
{{- $rules = append $rules (dict "to" (include "platform.component.peers" (dict "root" $part.root "names" .) | fromJsonArray)) -}}
{{- end -}}
{{- toJson (concat $rules .component.networkPolicy.egress) -}}
{{- end -}}

{{/* The pods of components. dict root names */}}
{{- define "platform.component.peers" -}}
{{- $peers := list -}}
{{- range .names -}}
{{- $labels := include "platform.selectorLabels" (dict "root" $.root "name" .) | fromYaml -}}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* A port's number, from its name among the component's ports, or the number itself. dict component port */}}
{{- define "platform.component.portNumber" -}}
{{- if kindIs "string" .port -}}
{{- if and (eq .port "https") .component.tls.enabled -}}
8443
{{- else -}}
{{- $given := get .component.ports .port -}}
{{- (ternary $given (dict "port" $given) (kindIs "map" $given)).port -}}
{{- end -}}
{{- else -}}
{{- .port -}}
{{- end -}}
{{- end -}}

{{/* The way out to Kafka or the database. dict root name */}}
{{- define "platform.component.backend" -}}
{{- $values := .root.Values -}}
{{- if (index $values .name).enabled -}}
{{- toJson (dict "to" (include "platform.component.peers" (dict "root" .root "names" (list .name)) | fromJsonArray)) -}}
{{- else -}}
{{- /* Where it is may be a name that only DNS knows: any address, but its ports alone. */ -}}
{{- $ports := list -}}
{{- if eq .name "database" -}}
{{- $ports = list $values.externalDatabase.port -}}
{{- else -}}
{{- range $values.externalKafka.bootstrapServers -}}
{{- $ports = append $ports (splitList ":" . | last | int) -}}
{{- end -}}
{{- end -}}
{{- $rule := list -}}
{{- range uniq $ports -}}
{{- $rule = append $rule (dict "port" . "protocol" "TCP") -}}
{{- end -}}
{{- toJson (dict "ports" $rule) -}}
{{- end -}}
{{- end -}}
