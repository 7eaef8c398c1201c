{{/* Kafka: its names, its configuration, and what its clients need. (root) */}}

{{- define "platform.kafka.name" -}}
{{- include "platform.name" (dict "root" . "name" "kafka") -}}
{{- end -}}

{{/* The domain of the brokers' host names: POD.DOMAIN. */}}
{{- define "platform.kafka.domain" -}}
{{- printf "%s-headless.%s.svc" (include "platform.kafka.name" .) .Release.Namespace -}}
{{- end -}}

{{/* The Secret with user names and passwords. */}}
{{- define "platform.kafka.secret" -}}
{{- .Values.kafka.auth.existingSecret | default (include "platform.kafka.name" .) -}}
{{- end -}}

{{/* The Secret with tls.crt, tls.key and ca.crt. */}}
{{- define "platform.kafka.tlsSecret" -}}
{{- $default := printf "%s-tls" (include "platform.kafka.name" .) -}}
{{- .Values.kafka.tls.existingSecret | default $default -}}
{{- end -}}

{{/* The security protocol of every listener but the pod's own. */}}
{{- define "platform.kafka.protocol" -}}
{{- ternary "SASL_" "" .Values.kafka.auth.enabled -}}
{{- ternary "SSL" "PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- end -}}

{{/*
16 bytes in base64, derived from the release's name and namespace: the same after an uninstall that
kept the claims, and for a broker that lost its volume.
*/}}
{{- define "platform.kafka.clusterId" -}}
{{- $name := printf "%s/%s" .Release.Namespace (include "platform.kafka.name" .) -}}
{{- .Values.kafka.clusterId | default (printf "%sw" ($name | sha256sum | trunc 21)) -}}
{{- end -}}

{{/* server.properties. start.sh adds secrets and what differs between pods. */}}
{{- define "platform.kafka.properties" -}}
{{- $kafka := .Values.kafka -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $domain := include "platform.kafka.domain" . -}}
{{- $protocol := include "platform.kafka.protocol" . -}}
{{- $voters := list -}}
{{- range $node := until (int $kafka.replicas) -}}
{{- $voters = append $voters (printf "%d@%s-%d.%s:9093" $node $name $node $domain) -}}
{{- end -}}
process.roles=broker,controller
controller.quorum.voters={{ join "," $voters }}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
# LOCAL is for the probes; only the pod itself reaches it.
listeners=CLIENT://:9092,CONTROLLER://:9093,INTERNAL://:9094,LOCAL://127.0.0.1:9095
{{- $listeners := list -}}
{{- range list "CLIENT" "CONTROLLER" "INTERNAL" -}}
{{- $listeners = append $listeners (printf "%s:%s" . $protocol) -}}
{{- end }}
listener.security.protocol.map={{ join "," $listeners }},LOCAL:PLAINTEXT
# Below the volume's root: Kafka would take its folder lost+found for a partition and stop.
log.dirs=/var/lib/kafka/data/log
# A typing error must not create a topic.
auto.create.topics.enable=false
default.replication.factor={{ $kafka.replicationFactor }}
min.insync.replicas={{ $kafka.minInsyncReplicas }}
offsets.topic.replication.factor={{ $kafka.replicationFactor }}
transaction.state.log.replication.factor={{ $kafka.replicationFactor }}
transaction.state.log.min.isr={{ $kafka.minInsyncReplicas }}
share.coordinator.state.topic.replication.factor={{ $kafka.replicationFactor }}
share.coordinator.state.topic.min.isr={{ $kafka.minInsyncReplicas }}
{{- if $kafka.auth.enabled }}
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.internal.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.controller.sasl.enabled.mechanisms=PLAIN
{{- end }}
{{- if $kafka.tls.enabled }}
ssl.keystore.type=PEM
ssl.keystore.location=/run/kafka/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=/etc/kafka/tls/ca.crt
ssl.enabled.protocols=TLSv1.3,TLSv1.2
{{- end }}
{{- range $key, $value := $kafka.config }}
{{ $key }}={{ include "platform.text" $value }}
{{- end }}
{{- end -}}

{{/* The brokers' files, as the data of a ConfigMap. */}}
{{- define "platform.kafka.files" -}}
server.properties: |
  {{- include "platform.kafka.properties" . | nindent 2 }}
{{- range $file := list "start.sh" "state.sh" "log4j2.yaml" }}
{{ $file }}: |
  {{- $.Files.Get (printf "files/kafka/%s" $file) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The variables of a component that uses Kafka. */}}
{{- define "platform.kafka.env" -}}
{{- if .Values.kafka.enabled -}}
- name: BROKER_URL
  value: {{ printf "%s:9092" (include "platform.kafka.name" .) | quote }}
- name: BROKER_SECURITY_PROTOCOL
  value: {{ include "platform.kafka.protocol" . }}
# async-worker creates its topics if it is faster than the Job, with the same number of copies.
- name: TOPIC_REPLICATION
  value: {{ .Values.kafka.replicationFactor | quote }}
{{- if .Values.kafka.auth.enabled }}
- name: BROKER_SASL_MECHANISM
  value: SCRAM-SHA-512
{{- $secret := include "platform.kafka.secret" . }}
{{- include "platform.login" (dict "prefix" "BROKER" "secret" $secret) }}
{{- end }}
{{- if .Values.kafka.tls.enabled }}
- name: BROKER_CA_FILE
  value: /etc/platform/kafka/ca.crt
{{- end }}
{{- else -}}
{{- $kafka := .Values.externalKafka -}}
- name: BROKER_URL
  value: {{ join "," $kafka.bootstrapServers | quote }}
- name: BROKER_SECURITY_PROTOCOL
  value: {{ $kafka.securityProtocol }}
{{- if hasPrefix "SASL_" $kafka.securityProtocol }}
- name: BROKER_SASL_MECHANISM
  value: {{ $kafka.saslMechanism }}
{{- include "platform.login" (dict "prefix" "BROKER" "secret" $kafka.existingSecret) }}
{{- end }}
{{- if $kafka.caSecret }}
- name: BROKER_CA_FILE
  value: /etc/platform/kafka/ca.crt
{{- end }}
{{- end -}}
{{- end -}}

{{/* The variables of a login, from username and password of a Secret. (dict prefix secret) */}}
{{- define "platform.login" -}}
{{- range list "username" "password" }}
- name: {{ $.prefix }}_{{ upper . }}
  valueFrom:
    secretKeyRef: {name: {{ $.secret }}, key: {{ . }}}
{{- end }}
{{- end -}}

{{/* The Secret with the CA that clients trust; nothing if they need none. */}}
{{- define "platform.kafka.caSecret" -}}
{{- if not .Values.kafka.enabled -}}
{{- .Values.externalKafka.caSecret -}}
{{- else if not .Values.kafka.tls.enabled -}}
{{- else if or .Values.kafka.tls.existingSecret .Values.kafka.tls.certManager.enabled -}}
{{- include "platform.kafka.tlsSecret" . -}}
{{- else -}}
{{- include "platform.name" (dict "root" . "name" "kafka-ca") -}}
{{- end -}}
{{- end -}}

{{/* Every name in the brokers' certificate, as a JSON list. */}}
{{- define "platform.kafka.names" -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $service := dict "root" . "name" "kafka" "domain" "cluster.local" -}}
{{- $names := include "platform.hosts" $service | fromJsonArray -}}
{{- range $node := until (int .Values.kafka.replicas) -}}
{{- $names = append $names (printf "%s-%d.%s" $name $node (include "platform.kafka.domain" $)) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The topics as files/kafka/topics.sh reads them. */}}
{{- define "platform.kafka.topics" -}}
minimum {{ .Values.kafka.minInsyncReplicas }}
{{- range $name, $topic := .Values.kafka.topics }}
{{- $copies := $topic.replicationFactor | default $.Values.kafka.replicationFactor }}
topic {{ $name }} {{ $topic.partitions }} {{ $copies }}
{{- range $key, $value := $topic.config }}
set {{ $name }} {{ $key }}={{ include "platform.text" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod that creates the topics. A Job cannot change, so its name contains the pod's hash. */}}
{{- define "platform.kafka.topicsPod" -}}
{{- $kafka := .Values.kafka -}}
{{- $name := include "platform.name" (dict "root" . "name" "kafka-topics") -}}
metadata:
  labels:
    {{- include "platform.backendPodLabels" (dict "root" . "name" "kafka-topics") | nindent 4 }}
  annotations:
    checksum/topics: {{ include "platform.kafka.topics" . | sha256sum }}
    checksum/script: {{ .Files.Get "files/kafka/topics.sh" | sha256sum }}
spec:
  serviceAccountName: {{ $name }}
  {{- include "platform.podDefaults" . | nindent 2 }}
  restartPolicy: OnFailure
  securityContext:
    {{- include "platform.podSecurityContext" (dict "user" 1000) | nindent 4 }}
  {{- with include "platform.scheduling" (pick $kafka "nodeSelector" "tolerations") }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  containers:
    - name: topics
      image: {{ include "platform.image" (dict "root" . "image" $kafka.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [bash, /etc/kafka/chart/topics.sh]
      env:
        - name: BOOTSTRAP
          value: {{ include "platform.kafka.name" . }}:9092
        - name: WAIT
          value: "600"
        - name: PROTOCOL
          value: {{ include "platform.kafka.protocol" . }}
        # The script starts several short-lived JVMs.
        - name: KAFKA_HEAP_OPTS
          value: -Xmx96M
        - name: KAFKA_JVM_PERFORMANCE_OPTS
          value: -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        - name: LOG_DIR
          value: /tmp
        {{- if $kafka.auth.enabled }}
        - name: BROKER_PASSWORD
          valueFrom:
            secretKeyRef: {name: {{ include "platform.kafka.secret" . }}, key: broker-password}
        {{- end }}
      resources:
        {{- toYaml $kafka.topicsJob.resources | nindent 8 }}
      securityContext:
        {{- include "platform.containerSecurityContext" . | nindent 8 }}
      volumeMounts:
        - {name: chart, mountPath: /etc/kafka/chart, readOnly: true}
        - {name: run, mountPath: /run/kafka}
        - {name: tmp, mountPath: /tmp}
        {{- $uses := dict "root" . "uses" (list "kafka") }}
        {{- with include "platform.backend.volumeMounts" $uses | fromJsonArray }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: chart
      configMap:
        name: {{ $name }}
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with include "platform.backend.volumes" $uses | fromJsonArray }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
