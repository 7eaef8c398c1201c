{{/* Mistakes in the values of Kafka and the database, one a line. (root) */}}
{{- define "platform.validate.backends" -}}
{{- include "platform.validate.backends.source" . -}}
{{- if .Values.kafka.enabled -}}
{{- include "platform.validate.kafka.copies" . -}}
{{- include "platform.validate.kafka.security" . -}}
{{- else -}}
{{- include "platform.validate.externalKafka" . -}}
{{- end -}}
{{- include "platform.validate.database" . -}}
{{- range $backend := list "kafka" "database" -}}
{{- $capacityType := (index $.Values $backend).capacityType | default dict -}}
{{- if gt (len $capacityType) 1 }}
{{ $backend }}.capacityType: it has {{ keys $capacityType | sortAlpha | join " and " }}
{{- print "; keep one (null removes one)" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Each is either the chart's own or external, and there if a component uses it. (root) */}}
{{- define "platform.validate.backends.source" -}}
{{- $components := include "platform.components" . | fromJson -}}
{{- $kafka := .Values.externalKafka.bootstrapServers -}}
{{- $database := .Values.externalDatabase.host -}}
{{- range $backend, $external := dict
  "kafka" (dict "path" "externalKafka.bootstrapServers" "value" $kafka)
  "database" (dict "path" "externalDatabase.host" "value" $database)
-}}
{{- $internal := (index $.Values $backend).enabled -}}
{{- if and $internal $external.value }}
{{ $external.path }}: {{ $backend }}.enabled is true too; set that to false, or remove this
{{- else if not (or $internal $external.value) -}}
{{- range $name, $component := $components -}}
{{- if has $backend $component.uses }}
components.{{ $name }}.uses: there is no {{ $backend }}; set {{ $backend }}.enabled to true, or set
{{- printf " %s" $external.path }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.kafka.copies" -}}
{{- $kafka := .Values.kafka -}}
{{- $replicas := int $kafka.replicas -}}
{{- $copies := int $kafka.replicationFactor -}}
{{- $minimum := int $kafka.minInsyncReplicas -}}
{{- if gt $copies $replicas }}
kafka.replicationFactor: {{ $copies }} copies need more brokers than kafka.replicas, {{ $replicas }}
{{- end -}}
{{- if gt $minimum $copies }}
kafka.minInsyncReplicas: {{ $minimum }} is more than kafka.replicationFactor, {{ $copies }}
{{- else if and (gt $copies 1) (eq $minimum $copies) }}
kafka.minInsyncReplicas: no broker could be down; set it to {{ sub $copies 1 }} or less
{{- end -}}
{{- range $name, $topic := $kafka.topics -}}
{{- $path := printf "kafka.topics.%s" $name -}}
{{- $own := int ($topic.replicationFactor | default $copies) -}}
{{- if gt $own $replicas }}
{{ $path }}.replicationFactor: {{ $own }} copies need more brokers than kafka.replicas
{{- printf ", %d" $replicas }}
{{- end -}}
{{- $required := int (dig "min.insync.replicas" $minimum ($topic.config | default dict)) -}}
{{- if and (gt $required $own) (le $minimum $copies) }}
{{ $path }}: {{ $required }} of {{ $own }} copies cannot be in sync; set config min.insync.replicas
{{- end -}}
{{- end -}}
{{- range $key := list
  "process.roles" "node.id" "broker.id" "controller.quorum.voters"
  "controller.quorum.bootstrap.servers" "controller.listener.names" "inter.broker.listener.name"
  "listeners" "advertised.listeners" "listener.security.protocol.map" "log.dirs" "log.dir"
  "metadata.log.dir" "default.replication.factor" "min.insync.replicas"
-}}
{{- if hasKey ($kafka.config | default dict) $key }}
kafka.config: the chart sets {{ $key }}; remove it
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validate.kafka.security" -}}
{{- $auth := .Values.kafka.auth -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and $auth.existingSecret (not $auth.enabled) }}
kafka.auth.existingSecret: it has no effect while kafka.auth.enabled is false
{{- end -}}
{{- if and (not $tls.enabled) (or $tls.existingSecret $tls.certManager.enabled) }}
kafka.tls: existingSecret and certManager have no effect while kafka.tls.enabled is false
{{- end -}}
{{- if and $tls.existingSecret $tls.certManager.enabled }}
kafka.tls: existingSecret and certManager are set; keep one
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
kafka.tls.certManager.issuerRef.name: it is empty; name an Issuer or ClusterIssuer
{{- end -}}
{{- end -}}

{{- define "platform.validate.externalKafka" -}}
{{- $kafka := .Values.externalKafka -}}
{{- $protocol := $kafka.securityProtocol -}}
{{- $sasl := hasPrefix "SASL_" $protocol -}}
{{- if and $sasl (not $kafka.existingSecret) }}
externalKafka.existingSecret: {{ $protocol }} needs a Secret with username and password
{{- else if and $kafka.existingSecret (not $sasl) }}
externalKafka.existingSecret: {{ $protocol }} uses no password; remove it
{{- print ", or change securityProtocol" }}
{{- end -}}
{{- if and $kafka.caSecret (not (hasSuffix "SSL" $protocol)) }}
externalKafka.caSecret: {{ $protocol }} uses no CA; remove it, or change securityProtocol
{{- end -}}
{{- end -}}

{{- define "platform.validate.database" -}}
{{- $database := .Values.database -}}
{{- $external := .Values.externalDatabase -}}
{{- $accounts := keys (include "platform.database.accounts" . | fromJson) -}}
{{- if $database.enabled -}}
{{- include "platform.validate.database.accounts" . -}}
{{- if and $database.tls.existingSecret (not $database.tls.enabled) }}
database.tls.existingSecret: it has no effect while database.tls.enabled is false
{{- end -}}
{{- if $external.caSecret }}
externalDatabase.caSecret: database.enabled is true; set database.tls instead
{{- end -}}
{{- range $key := list "init_file" "init-file" -}}
{{- if hasKey ($database.config | default dict) $key }}
database.config: the chart sets {{ $key }}; remove it
{{- end -}}
{{- end -}}
{{- else -}}
{{- if and $external.host (not $external.existingSecret) }}
externalDatabase.existingSecret: it is empty; name a Secret with username and password
{{- end -}}
{{- $accounts = concat $accounts (keys ($external.accounts | default dict)) | uniq -}}
{{- end -}}
{{- $names := sortAlpha $accounts | join ", " | default "none" -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- $account := $component.databaseAccount -}}
{{- if and $account (has "database" $component.uses) (not (has $account $accounts)) }}
components.{{ $name }}.databaseAccount: database.accounts has no {{ $account }} ({{ $names }})
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The owner and the other accounts: one source of the password, different user names. (root) */}}
{{- define "platform.validate.database.accounts" -}}
{{- $accounts := dict "database" .Values.database -}}
{{- range $name, $account := include "platform.database.accounts" . | fromJson -}}
{{- $_ := set $accounts (printf "database.accounts.%s" $name) $account -}}
{{- end -}}
{{- $owners := dict -}}
{{- range $path, $account := $accounts -}}
{{- if and $account.password $account.existingSecret }}
{{ $path }}.password: {{ $path }}.existingSecret is set too; keep one
{{- end -}}
{{- if not $account.existingSecret -}}
{{- if hasKey $owners $account.username }}
{{ $path }}.username: {{ get $owners $account.username }} is also {{ $account.username }}
{{- print "; choose another name" }}
{{- end -}}
{{- $_ := set $owners $account.username (printf "%s.username" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
