{{/* Rules of NetworkPolicies. */}}

{{/* Who may connect to a component, as a JSON list of rules. (dict root name component) */}}
{{- define "platform.component.ingress" -}}
{{- $rules := list -}}
{{- if .component.service.enabled -}}
{{- $peers := list (dict "podSelector" dict) -}}
{{- with .component.networkPolicy.from -}}
{{- $peers = include "platform.peers" (dict "root" $.root "names" .) | fromJsonArray -}}
{{- end -}}
{{- if or .component.ingress.enabled .component.route.enabled -}}
{{- $peers = concat $peers .root.Values.networkPolicy.controllers -}}
{{- end -}}
{{- $ports := list -}}
{{- range $port := include "platform.component.servicePorts" . | fromJson -}}
{{- $target := dict "component" $.component "port" $port.targetPort -}}
{{- $number := include "platform.component.portNumber" $target | int -}}
{{- $ports = append $ports (dict "port" $number "protocol" $port.protocol) -}}
{{- end -}}
{{- $rules = append $rules (dict "from" $peers "ports" $ports) -}}
{{- end -}}
{{- $scrapers := .root.Values.networkPolicy.scrapers -}}
{{- if and .component.metrics.port $scrapers -}}
{{- $target := dict "component" .component "port" .component.metrics.port -}}
{{- $number := include "platform.component.portNumber" $target | int -}}
{{- $ports := list (dict "port" $number "protocol" "TCP") -}}
{{- if .component.tls.enabled -}}
{{- $ports = append $ports (dict "port" 8404 "protocol" "TCP") -}}{{/* the proxy's metrics */}}
{{- end -}}
{{- $rules = append $rules (dict "from" $scrapers "ports" $ports) -}}
{{- end -}}
{{- toJson (concat $rules .component.networkPolicy.ingress) -}}
{{- end -}}

{{/* Where a component may connect to, as a JSON list of rules. (dict root name component) */}}
{{- define "platform.component.egress" -}}
{{- $rules := include "platform.dnsEgress" .root | fromYamlArray -}}
{{- range without .component.uses "token" -}}
{{- $rule := include "platform.backend.egress" (dict "root" $.root "name" .) | fromJson -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- if .component.serviceAccount.automountServiceAccountToken -}}
{{- $server := .root.Values.networkPolicy.apiServer -}}
{{- $ports := list -}}
{{- range $server.ports -}}
{{- $ports = append $ports (dict "port" . "protocol" "TCP") -}}
{{- end -}}
{{- $rule := dict "ports" $ports -}}
{{- with $server.to -}}
{{- $_ := set $rule "to" . -}}
{{- end -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- with .component.networkPolicy.to -}}
{{- $peers := include "platform.peers" (dict "root" $.root "names" .) | fromJsonArray -}}
{{- $rules = append $rules (dict "to" $peers) -}}
{{- end -}}
{{- toJson (concat $rules .component.networkPolicy.egress) -}}
{{- end -}}

{{/* The pods of these names, as a JSON list of peers. (dict root names) */}}
{{- define "platform.peers" -}}
{{- $peers := list -}}
{{- range .names -}}
{{- $labels := include "platform.selectorLabels" (dict "root" $.root "name" .) | fromYaml -}}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* The egress rule to DNS, as a YAML list; nothing if networkPolicy.dns.to is empty. (root) */}}
{{- define "platform.dnsEgress" -}}
{{- $dns := .Values.networkPolicy.dns -}}
{{- if $dns.to -}}
- to:
    {{- toYaml $dns.to | nindent 4 }}
  ports:
    {{- range $port := $dns.ports }}
    - {port: {{ $port }}, protocol: UDP}
    - {port: {{ $port }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* The pods of the components that use a backend, as a YAML list of peers. (dict root name) */}}
{{- define "platform.backend.clients" -}}
{{- $root := .root -}}
{{- range $name, $component := include "platform.components" $root | fromJson -}}
{{- if has $.name $component.uses }}
- podSelector:
    matchLabels:
      {{- include "platform.selectorLabels" (dict "root" $root "name" $name) | nindent 6 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The egress rule to Kafka or the database, as JSON. An external one may have a name that only DNS
knows: any address is allowed, on its ports only. (dict root name)
*/}}
{{- define "platform.backend.egress" -}}
{{- $values := .root.Values -}}
{{- if (index $values .name).enabled -}}
{{- $peers := include "platform.peers" (dict "root" .root "names" (list .name)) -}}
{{- toJson (dict "to" (fromJsonArray $peers)) -}}
{{- else -}}
{{- $numbers := list -}}
{{- if eq .name "database" -}}
{{- $numbers = list $values.externalDatabase.port -}}
{{- else -}}
{{- range $values.externalKafka.bootstrapServers -}}
{{- $numbers = append $numbers (splitList ":" . | last | int) -}}
{{- end -}}
{{- end -}}
{{- $ports := list -}}
{{- range uniq $numbers -}}
{{- $ports = append $ports (dict "port" . "protocol" "TCP") -}}
{{- end -}}
{{- toJson (dict "ports" $ports) -}}
{{- end -}}
{{- end -}}
