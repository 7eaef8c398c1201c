{{/*
Values that contradict what is in the cluster, one mistake a line. Kafka and the database have users
and passwords from their first start. `helm template` has no cluster to compare with, so it accepts
every value. (root)
*/}}
{{- define "platform.validate.live" -}}
{{- include "platform.validate.live.name" . -}}
{{- if .Values.kafka.enabled -}}
{{- include "platform.validate.live.kafka" . -}}
{{- if .Values.kafka.auth.enabled -}}
{{- include "platform.validate.live.kafkaUsers" . -}}
{{- end -}}
{{- end -}}
{{- if .Values.database.enabled -}}
{{- include "platform.validate.live.database" . -}}
{{- end -}}
{{- end -}}

{{/*
An earlier chart cut a long prefix at 40 characters. With another one, Kafka and the database would
start again without their data. (root)
*/}}
{{- define "platform.validate.live.name" -}}
{{- $prefix := .Values.fullnameOverride | default .Release.Name -}}
{{- $earlier := trunc 40 $prefix | trimSuffix "-" -}}
{{- $stays := le (len $prefix) 40 -}}
{{- range $part := concat (list "kafka" "database") (keys .Values.components) -}}
{{- if not $stays -}}
{{- $set := lookup "apps/v1" "StatefulSet" $.Release.Namespace (printf "%s-%s" $earlier $part) -}}
{{- if eq $.Release.Name (dig "metadata" "labels" "app.kubernetes.io/instance" "" $set) }}
fullnameOverride: an earlier chart called the objects {{ $earlier }}-…; set it to that, or
{{- print " their data stays behind" }}
{{- $stays = true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What cannot change while the brokers restart one by one. (root) */}}
{{- define "platform.validate.live.kafka" -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $current := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $annotations := dig "metadata" "annotations" dict $current -}}
{{- $replicas := get $annotations "platform/kafka-replicas" -}}
{{- if and $replicas (ne $replicas (toString .Values.kafka.replicas)) }}
kafka.replicas: it was {{ $replicas }} at the first install and cannot change (README, "Kafka")
{{- end -}}
{{- $protocol := get $annotations "platform/kafka-protocol" -}}
{{- $requested := include "platform.kafka.protocol" . -}}
{{- if and $protocol (ne $protocol $requested) }}
kafka.auth, kafka.tls: the brokers use {{ $protocol }}, which cannot change to {{ $requested }}
{{- print " while they restart one by one (README, \"Kafka\")" }}
{{- end -}}
{{- end -}}

{{/* Kafka has its users from the first start; a Secret alone changes none. (root) */}}
{{- define "platform.validate.live.kafkaUsers" -}}
{{- $auth := .Values.kafka.auth -}}
{{- $name := include "platform.kafka.name" . -}}
{{- $current := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $login := dict "workload" $current "variable" "CLIENT_PASSWORD" -}}
{{- $login = include "platform.live.variable" $login | fromJson -}}
{{- $used := dig "valueFrom" "secretKeyRef" "name" "" $login -}}
{{- $existing := include "platform.secretData" (dict "root" . "name" ($used | default $name)) -}}
{{- $existing = fromJson $existing -}}
{{- if not $auth.existingSecret -}}
{{- $part := dict "root" . "name" $name "path" "kafka.auth" "existing" $existing -}}
{{- include "platform.validate.live.claim" $part -}}
{{- $username := get $existing "username" | b64dec -}}
{{- if and $username (ne $username $auth.username) }}
kafka.auth.username: Kafka's user is {{ $username }}; create the new one in Kafka, then change the
{{- printf " Secret %s (README, \"Kafka\")" ($used | default $name) }}
{{- end -}}
{{- end -}}
{{- $requested := include "platform.kafka.secret" . -}}
{{- if and $used (ne $used $requested) -}}
{{- $new := include "platform.secretData" (dict "root" . "name" $requested) | fromJson -}}
{{- $keys := list "username" "password" "broker-password" "controller-password" -}}
{{- $same := true -}}
{{- range $keys -}}
{{- $same = and $same (eq (get $new .) (get $existing .)) -}}
{{- end -}}
{{- if and $new $existing (not $same) }}
kafka.auth.existingSecret: {{ $requested }} has other users or passwords than {{ $used }}, which
{{- print " Kafka knows; change them in Kafka first (README, \"Kafka\")" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The owner and the other accounts, as the database has them. (root) */}}
{{- define "platform.validate.live.database" -}}
{{- $database := .Values.database -}}
{{- $name := include "platform.database.name" . -}}
{{- $current := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $variable := dict "workload" $current "variable" "MARIADB_DATABASE" -}}
{{- $existing := get (include "platform.live.variable" $variable | fromJson) "value" -}}
{{- if and $existing (ne $existing $database.name) }}
database.name: it was {{ $existing }} at the first start and cannot change
{{- end -}}
{{- $accounts := include "platform.database.accounts" . | fromJson -}}
{{- range $account := prepend (keys $accounts | sortAlpha) "" -}}
{{- $settings := ternary $database (get $accounts $account) (empty $account) -}}
{{- if not $settings.existingSecret -}}
{{- $path := ternary "database" (printf "database.accounts.%s" $account) (empty $account) -}}
{{- $secret := include "platform.database.secret" (dict "root" $ "account" $account) -}}
{{- $existing := include "platform.secretData" (dict "root" $ "name" $secret) | fromJson -}}
{{- if not $account -}}
{{- $part := dict "root" $ "name" $name "path" $path "existing" $existing -}}
{{- include "platform.validate.live.claim" $part -}}
{{- end -}}
{{- range $key := list "username" "password" -}}
{{- $given := get $settings $key -}}
{{- if and $given (hasKey $existing $key) (ne $given (get $existing $key | b64dec)) }}
{{ $path }}.{{ $key }}: it differs from the Secret {{ $secret }}, which the database uses
{{- print "; change it there first (README, \"Change a password\")" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A volume with users of whom the Secret is missing. (dict root name path existing) */}}
{{- define "platform.validate.live.claim" -}}
{{- if not .existing -}}
{{- $claim := printf "data-%s-0" .name -}}
{{- if lookup "v1" "PersistentVolumeClaim" .root.Release.Namespace $claim }}
{{ .path }}: the claim {{ $claim }} has users, but their Secret {{ .name }} is missing; restore it,
{{- printf " name one in %s.existingSecret, or delete the claim with its data" .path }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A variable of a workload's containers, as JSON; empty without it. (dict workload variable)
*/}}
{{- define "platform.live.variable" -}}
{{- $variable := dict -}}
{{- range dig "spec" "template" "spec" "containers" list .workload -}}
{{- range .env -}}
{{- if eq .name $.variable -}}
{{- $variable = . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $variable -}}
{{- end -}}
