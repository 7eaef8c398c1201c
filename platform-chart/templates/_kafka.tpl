{{/* Kafka: its names, what a client of it needs, and its configuration. All take the root. */}}

{{- define "platform.kafka.name" -}}
{{- include "platform.name" (dict "root" . "name" "kafka") -}}
{{- end -}}

{{- define "platform.kafka.headless" -}}
{{- include "platform.name" (dict "root" . "name" "kafka-headless") -}}
{{- end -}}

{{/* What follows a pod's name in the name that brokers and clients know it by. */}}
{{- define "platform.kafka.domain" -}}
{{- printf "%s.%s.svc" (include "platform.kafka.headless" .) .Release.Namespace -}}
{{- end -}}

{{/* The Secret with the users' names and passwords. */}}
{{- define "platform.kafka.secret" -}}
{{- .Values.kafka.auth.existingSecret | default (include "platform.kafka.name" .) -}}
{{- end -}}

{{/* The Secret with tls.crt, tls.key and ca.crt. */}}
{{- define "platform.kafka.tlsSecret" -}}
{{- .Values.kafka.tls.existingSecret | default (printf "%s-tls" (include "platform.kafka.name" .)) -}}
{{- end -}}

{{/* What the listeners of brokers and clients speak. */}}
{{- define "platform.kafka.protocol" -}}
{{- printf "%s%s" (ternary "SASL_" "" .Values.kafka.auth.enabled) (ternary "SSL" "PLAINTEXT" .Values.kafka.tls.enabled) -}}
{{- end -}}

{{/*
16 bytes in base64 that follow from the release's name and namespace: the same when it is uninstalled and comes back to claims that
were kept, and for a broker that lost its disk.
*/}}
{{- define "platform.kafka.clusterId" -}}
{{- .Values.kafka.clusterId | default (printf "%sw" (printf "%s/%s" .Release.Namespace (include "platform.kafka.name" .) | sha256sum | trunc 21)) -}}
{{- end -}}

{{/* server.properties, but for what differs from pod to pod and for what is secret: files/kafka/start.sh adds that. */}}
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
# LOCAL is for the probes: nothing outside of the pod reaches it.
listeners=CLIENT://:9092,CONTROLLER://:9093,INTERNAL://:9094,LOCAL://127.0.0.1:9095
listener.security.protocol.map=CLIENT:{{ $protocol }},CONTROLLER:{{ $protocol }},INTERNAL:{{ $protocol }},LOCAL:PLAINTEXT
# Not the volume itself: where its root is a file system's, Kafka takes lost+found for a partition and stops.
log.dirs=/var/lib/kafka/data/log
# A typing error must not make a topic.
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

{{/* What a component that uses Kafka finds in its environment. */}}
{{- define "platform.kafka.env" -}}
{{- if .Values.kafka.enabled -}}
- name: BROKER_URL
  value: {{ printf "%s:9092" (include "platform.kafka.name" .) | quote }}
- name: BROKER_SECURITY_PROTOCOL
  value: {{ include "platform.kafka.protocol" . }}
# async-worker makes its topics when it is faster than the Job: with as many copies.
- name: TOPIC_REPLICATION
  value: {{ .Values.kafka.replicationFactor | quote }}
{{- if .Values.kafka.auth.enabled }}
- name: BROKER_SASL_MECHANISM
  value: SCRAM-SHA-512
{{ include "platform.kafka.credentials" (include "platform.kafka.secret" .) }}
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
{{ include "platform.kafka.credentials" $kafka.existingSecret }}
{{- end }}
{{- if $kafka.caSecret }}
- name: BROKER_CA_FILE
  value: /etc/platform/kafka/ca.crt
{{- end }}
{{- end -}}
{{- end -}}

{{/* A user by the keys username and password of a Secret. (its name) */}}
{{- define "platform.kafka.credentials" -}}
- name: BROKER_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: username}
- name: BROKER_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: password}
{{- end -}}

{{/* The Secret that holds the CA which a client is to trust; nothing when it needs none. */}}
{{- define "platform.kafka.caSecret" -}}
{{- if not .Values.kafka.enabled -}}
{{- .Values.externalKafka.caSecret -}}
{{- else if .Values.kafka.tls.enabled -}}
{{- include "platform.kafka.tlsSecret" . -}}
{{- end -}}
{{- end -}}

{{- define "platform.kafka.volumes" -}}
{{- with include "platform.kafka.caSecret" . -}}
- name: kafka-ca
  secret:
    secretName: {{ . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end -}}
{{- end -}}

{{- define "platform.kafka.volumeMounts" -}}
{{- if include "platform.kafka.caSecret" . -}}
- name: kafka-ca
  mountPath: /etc/platform/kafka
  readOnly: true
{{- end -}}
{{- end -}}

{{/* Every name that a broker is called by. A certificate made here is made anew when one of them changes. As JSON. */}}
{{- define "platform.kafka.names" -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $names := list $name -}}
{{- $names = append $names (printf "%s.%s" $name .Release.Namespace) -}}
{{- $names = append $names (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- $names = append $names (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) -}}
{{- range $node := until (int .Values.kafka.replicas) -}}
{{- $names = append $names (printf "%s-%d.%s" $name $node (include "platform.kafka.domain" $)) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* What files/kafka/topics.sh brings the topics to. */}}
{{- define "platform.kafka.topics" -}}
minimum {{ .Values.kafka.minInsyncReplicas }}
{{- range $name, $topic := .Values.kafka.topics }}
topic {{ $name }} {{ $topic.partitions }} {{ $topic.replicationFactor | default $.Values.kafka.replicationFactor }}
{{- range $key, $value := $topic.config }}
set {{ $name }} {{ $key }}={{ include "platform.text" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod that makes the topics. Its Job is named after all of it: what a Job is to do cannot be changed. */}}
{{- define "platform.kafka.topicsPod" -}}
{{- $kafka := .Values.kafka -}}
{{- $name := include "platform.name" (dict "root" . "name" "kafka-topics") -}}
metadata:
  labels:
    {{- include "platform.selectorLabels" (dict "root" . "name" "kafka-topics") | nindent 4 }}
  annotations:
    checksum/topics: {{ include "platform.kafka.topics" . | sha256sum }}
    checksum/script: {{ .Files.Get "files/kafka/topics.sh" | sha256sum }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: OnFailure
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "platform.podSecurityContext" (dict "user" 1000) | nindent 4 }}
  {{- with $kafka.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $kafka.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: topics
      image: {{ include "platform.image" (dict "image" $kafka.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [bash, /etc/kafka/chart/topics.sh]
      env:
        - name: BOOTSTRAP
          value: {{ include "platform.kafka.name" . }}:9092
        - name: WAIT
          value: "600"
        - name: PROTOCOL
          value: {{ include "platform.kafka.protocol" . }}
        # Several short lives of a JVM, in little memory.
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
        {{- with include "platform.kafka.volumeMounts" . }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: chart
      configMap:
        name: {{ $name }}
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with include "platform.kafka.volumes" . }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
