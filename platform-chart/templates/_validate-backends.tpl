{{/* What Kafka and the database have in common: who uses them, and what can be wrong with their values. */}}

{{/* The pods of the components that use a backend, as peers of a NetworkPolicy. dict root name */}}
{{- define "platform.backend.clients" -}}
{{- $backend := .name -}}
{{- $root := .root -}}
{{- range $name, $component := include "platform.components" $root | fromJson -}}
{{- if has $backend $component.uses }}
- podSelector:
    matchLabels:
      {{- include "platform.selectorLabels" (dict "root" $root "name" $name) | nindent 6 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* DNS, for a NetworkPolicy's egress; nothing when nobody may answer it. (root) */}}
{{- define "platform.backend.dns" -}}
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

{{/* What is wrong with Kafka and the database, one mistake a line, nothing when all is well. (root) */}}
{{- define "platform.validate.backends" -}}
{{- include "platform.validate.backends.choice" . -}}
{{- if .Values.kafka.enabled -}}
{{- include "platform.validate.kafka.copies" . -}}
{{- include "platform.validate.kafka.security" . -}}
{{- include "platform.validate.kafka.unchanged" . -}}
{{- else -}}
{{- include "platform.validate.externalKafka" . -}}
{{- end -}}
{{- include "platform.validate.database" . -}}
{{- end -}}

{{/* The chart's own or an external one, and one of them where a component uses it. (root) */}}
{{- define "platform.validate.backends.choice" -}}
{{- $kafka := .Values.externalKafka.bootstrapServers -}}
{{- $database := .Values.externalDatabase.host -}}
{{- if and .Values.kafka.enabled $kafka }}
externalKafka.bootstrapServers: the chart's own Kafka is enabled too; set kafka.enabled to false, or take the servers out
{{- end -}}
{{- if and .Values.database.enabled $database }}
externalDatabase.host: the chart's own database is enabled too; set database.enabled to false, or take the host out
{{- end -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- if and (has "kafka" $component.uses) (not $.Values.kafka.enabled) (not $kafka) }}
components.{{ $name }}.uses: there is no Kafka; set kafka.enabled to true, or give externalKafka.bootstrapServers
{{- end -}}
{{- if and (has "database" $component.uses) (not $.Values.database.enabled) (not $database) }}
components.{{ $name }}.uses: there is no database; set database.enabled to true, or give externalDatabase.host
{{- end -}}
{{- $parts := list "kafka-headless" "kafka-topics" "database-headless" -}}
{{- range $account := keys (include "platform.database.accounts" $ | fromJson) -}}
{{- $parts = append $parts (printf "database-%s" $account) -}}
{{- end -}}
{{- range $own := $parts -}}
{{- if and (eq $name $own) (index $.Values (splitList "-" $own | first)).enabled }}
components.{{ $name }}: the chart has objects of this name; choose another one
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.kafka.copies" -}}
{{- $kafka := .Values.kafka -}}
{{- $replicas := int $kafka.replicas -}}
{{- $copies := int $kafka.replicationFactor -}}
{{- if gt $copies $replicas }}
kafka.replicationFactor: {{ $copies }} copies need as many brokers, and kafka.replicas is {{ $replicas }}
{{- end -}}
{{- if gt (int $kafka.minInsyncReplicas) $copies }}
kafka.minInsyncReplicas: {{ $kafka.minInsyncReplicas }} of {{ $copies }} copies (kafka.replicationFactor) can never be in sync
{{- else if and (gt $copies 1) (eq (int $kafka.minInsyncReplicas) $copies) }}
kafka.minInsyncReplicas: with all {{ $copies }} copies needed, no broker could be away for a moment; {{ sub $copies 1 }} is the most
{{- end -}}
{{- range $name, $topic := $kafka.topics -}}
{{- $at := printf "kafka.topics.%s" $name -}}
{{- $own := int ($topic.replicationFactor | default $copies) -}}
{{- if gt $own $replicas }}
{{ $at }}.replicationFactor: {{ $own }} copies need as many brokers, and kafka.replicas is {{ $replicas }}
{{- end -}}
{{- $least := int (dig "min.insync.replicas" $kafka.minInsyncReplicas ($topic.config | default dict)) -}}
{{- if and (gt $least $own) (le (int $kafka.minInsyncReplicas) $copies) }}
{{ $at }}: {{ $least }} of its {{ $own }} copies can never be in sync; set its config min.insync.replicas
{{- end -}}
{{- end -}}
{{- range $key := list "process.roles" "node.id" "broker.id" "controller.quorum.voters" "controller.quorum.bootstrap.servers" "controller.listener.names" "inter.broker.listener.name" "listeners" "advertised.listeners" "listener.security.protocol.map" "log.dirs" "log.dir" "metadata.log.dir" "default.replication.factor" "min.insync.replicas" -}}
{{- if hasKey ($kafka.config | default dict) $key }}
kafka.config: the chart sets {{ $key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.kafka.security" -}}
{{- $auth := .Values.kafka.auth -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and $auth.existingSecret (not $auth.enabled) }}
kafka.auth.existingSecret: it says nothing while kafka.auth.enabled is false
{{- end -}}
{{- if and (not $tls.enabled) (or $tls.existingSecret $tls.certManager.enabled) }}
kafka.tls: a certificate's source says nothing while kafka.tls.enabled is false
{{- end -}}
{{- if and $tls.existingSecret $tls.certManager.enabled }}
kafka.tls: it has both existingSecret and certManager; choose one
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
kafka.tls.certManager.issuerRef.name: who is to sign?
{{- end -}}
{{- end -}}

{{/*
What a running Kafka cannot be changed to by restarting its brokers one by one. Only a cluster can tell, so `helm template` lets it
pass. (root)
*/}}
{{- define "platform.validate.kafka.unchanged" -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $annotations := dig "metadata" "annotations" dict (lookup "apps/v1" "StatefulSet" .Release.Namespace $name) -}}
{{- $was := get $annotations "platform/kafka-replicas" -}}
{{- if and $was (ne $was (toString .Values.kafka.replicas)) }}
kafka.replicas: this Kafka was made with {{ $was }}, and its controllers cannot become {{ .Values.kafka.replicas }} (README, "Kafka")
{{- end -}}
{{- $was = get $annotations "platform/kafka-protocol" -}}
{{- $protocol := include "platform.kafka.protocol" . -}}
{{- if and $was (ne $was $protocol) }}
kafka.auth, kafka.tls: brokers that speak {{ $was }} and brokers that speak {{ $protocol }} do not understand each other, so they cannot be restarted one by one (README, "Kafka")
{{- end -}}
{{- end -}}

{{- define "platform.validate.externalKafka" -}}
{{- $kafka := .Values.externalKafka -}}
{{- if and (hasPrefix "SASL_" $kafka.securityProtocol) (not $kafka.existingSecret) }}
externalKafka.existingSecret: {{ $kafka.securityProtocol }} needs a Secret with username and password
{{- else if and $kafka.existingSecret (not (hasPrefix "SASL_" $kafka.securityProtocol)) }}
externalKafka.existingSecret: {{ $kafka.securityProtocol }} uses no password; securityProtocol may be meant to be SASL_SSL
{{- end -}}
{{- if and $kafka.caSecret (not (hasSuffix "SSL" $kafka.securityProtocol)) }}
externalKafka.caSecret: {{ $kafka.securityProtocol }} uses no CA; securityProtocol may be meant to be SASL_SSL
{{- end -}}
{{- end -}}

{{- define "platform.validate.database" -}}
{{- $database := .Values.database -}}
{{- $external := .Values.externalDatabase -}}
{{- if and $database.enabled $database.password $database.existingSecret }}
database.password: database.existingSecret is set too; choose one
{{- end -}}
{{- if and (not $database.enabled) $external.host (not $external.existingSecret) }}
externalDatabase.existingSecret: it needs a Secret with username and password
{{- end -}}
{{- range $key := list "init_file" "init-file" -}}
{{- if and $database.enabled (hasKey ($database.config | default dict) $key) }}
database.config: the chart sets {{ $key }}
{{- end -}}
{{- end -}}
{{- $known := keys (include "platform.database.accounts" . | fromJson) -}}
{{- if $database.enabled -}}
{{- include "platform.validate.database.accounts" . -}}
{{- else -}}
{{- $known = concat $known (keys ($external.accounts | default dict)) | uniq -}}
{{- end -}}
{{- $names := sortAlpha $known | join ", " | default "none" -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- $account := $component.databaseAccount -}}
{{- if and $account (has "database" $component.uses) (not (has $account $known)) }}
components.{{ $name }}.databaseAccount: database.accounts has no {{ $account }} ({{ $names }})
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.database.accounts" -}}
{{- $database := .Values.database -}}
{{- $taken := dict -}}
{{- if not $database.existingSecret -}}
{{- $_ := set $taken $database.username "database.username" -}}
{{- end -}}
{{- range $name, $account := include "platform.database.accounts" . | fromJson -}}
{{- $at := printf "database.accounts.%s" $name -}}
{{- if and $account.password $account.existingSecret }}
{{ $at }}.password: {{ $at }}.existingSecret is set too; choose one
{{- end -}}
{{- if not $account.existingSecret -}}
{{- if hasKey $taken $account.username }}
{{ $at }}.username: {{ $account.username }} is {{ get $taken $account.username }} too; choose another one
{{- end -}}
{{- $_ := set $taken $account.username (printf "%s.username" $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
