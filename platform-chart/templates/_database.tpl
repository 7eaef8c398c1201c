{{/* The database: its names, its configuration, and what its clients need. (root) by default */}}

{{- define "platform.database.name" -}}
{{- include "platform.name" (dict "root" . "name" "database") -}}
{{- end -}}

{{/*
The accounts besides the owner, as JSON: name to {username, password, existingSecret, tables}. Every
key is there, if only empty.
*/}}
{{- define "platform.database.accounts" -}}
{{- $accounts := deepCopy (.Values.database.accounts | default dict) -}}
{{- include "platform.prune" $accounts -}}
{{- range $name, $account := $accounts -}}
{{- if not $account.username -}}
{{- $_ := set $account "username" $name -}}
{{- end -}}
{{- $_ := merge $account (dict "password" "" "existingSecret" "" "tables" dict) -}}
{{- end -}}
{{- toJson $accounts -}}
{{- end -}}

{{/*
The Secret with username and password of an account, of the owner if the account is "". An external
database may have one Secret for all. (dict root account)
*/}}
{{- define "platform.database.secret" -}}
{{- $database := .root.Values.database -}}
{{- $external := .root.Values.externalDatabase -}}
{{- if not $database.enabled -}}
{{- $account := get ($external.accounts | default dict) .account | default dict -}}
{{- $account.existingSecret | default $external.existingSecret -}}
{{- else if .account -}}
{{- $name := printf "database-%s" .account -}}
{{- $default := include "platform.name" (dict "root" .root "name" $name) -}}
{{- $accounts := include "platform.database.accounts" .root | fromJson -}}
{{- dig .account "existingSecret" "" $accounts | default $default -}}
{{- else -}}
{{- $database.existingSecret | default (include "platform.database.name" .root) -}}
{{- end -}}
{{- end -}}

{{/*
The password of an account of the chart's database, if the values have one. (dict root account)
*/}}
{{- define "platform.database.password" -}}
{{- $database := .root.Values.database -}}
{{- if and $database.enabled .account -}}
{{- dig .account "password" "" (include "platform.database.accounts" .root | fromJson) -}}
{{- else if $database.enabled -}}
{{- $database.password -}}
{{- end -}}
{{- end -}}

{{/* The variables of a component that uses the database. (dict root account) */}}
{{- define "platform.database.env" -}}
{{- $values := .root.Values -}}
{{- $external := $values.externalDatabase -}}
{{- $internal := $values.database.enabled -}}
- name: DB_HOST
  value: {{ ternary (include "platform.database.name" .root) $external.host $internal | quote }}
- name: DB_PORT
  value: {{ ternary 3306 $external.port $internal | quote }}
- name: DB_DATABASE
  value: {{ ternary $values.database.name $external.name $internal | quote }}
{{- include "platform.login" (dict "prefix" "DB" "secret" (include "platform.database.secret" .)) }}
{{- if include "platform.database.caSecret" .root }}
- name: DB_TLS_CA
  value: /etc/platform/database/ca.crt
{{- end }}
{{- end -}}

{{/* The Secret with the server's certificate. */}}
{{- define "platform.database.tlsSecret" -}}
{{- $default := include "platform.name" (dict "root" . "name" "database-tls") -}}
{{- .Values.database.tls.existingSecret | default $default -}}
{{- end -}}

{{/* The Secret with the CA that clients trust; nothing if they verify nothing. */}}
{{- define "platform.database.caSecret" -}}
{{- if not .Values.database.enabled -}}
{{- .Values.externalDatabase.caSecret -}}
{{- else if .Values.database.tls.enabled -}}
{{- $default := include "platform.name" (dict "root" . "name" "database-ca") -}}
{{- .Values.database.tls.existingSecret | default $default -}}
{{- end -}}
{{- end -}}

{{/* A Kubernetes quantity of bytes in whole MiB. (quantity) */}}
{{- define "platform.mebibytes" -}}
{{- divf (include "platform.quantity" . | float64) 1048576.0 | floor | int64 -}}
{{- end -}}

{{/* my.cnf. Sizes are computed from the container's memory limit. */}}
{{- define "platform.database.configuration" -}}
{{- $database := .Values.database -}}
{{- $limit := include "platform.mebibytes" $database.resources.limits.memory | int64 -}}
[mariadbd]
# The image's defaults are for a server that has the machine to itself.
innodb_buffer_pool_size = {{ div (mul $limit $database.bufferPoolPercentage) 100 }}M
performance_schema = OFF
# A committed transaction survives a power cut.
innodb_flush_log_at_trx_commit = 1
# Pods change their addresses, and a reverse lookup takes time.
skip-name-resolve
# Read at every start: creates missing accounts and sets changed passwords.
init_file = /etc/mysql/conf.d/accounts.sql
{{- if $database.tls.enabled }}
ssl_cert = /etc/platform/database/tls.crt
ssl_key = /etc/platform/database/tls.key
{{- end }}
{{- range $key, $value := $database.config }}
{{ $key }} = {{ include "platform.text" $value }}
{{- end }}
{{- end -}}

{{/*
The SQL that the server runs at every start, before it accepts connections. An error ends the script
but not the server; the log shows it after "ERROR: ". Names and passwords are read from Secrets; an
empty one is an error. A GRANT on a missing table needs CREATE, which is revoked at once.
*/}}
{{- define "platform.database.initFile" -}}
{{- $folder := "/etc/platform/database" -}}
SET @owner = NULLIF(LOAD_FILE('{{ $folder }}/username'), '');
SET @password = NULLIF(LOAD_FILE('{{ $folder }}/password'), '');
SET @account = CONCAT(QUOTE(@owner), '@''%''');
EXECUTE IMMEDIATE CONCAT('ALTER USER IF EXISTS ', @account, ' IDENTIFIED BY ', QUOTE(@password));
{{- range $name, $account := include "platform.database.accounts" . | fromJson }}
SET @username = NULLIF(LOAD_FILE('{{ $folder }}/accounts/{{ $name }}/username'), '');
SET @password = NULLIF(LOAD_FILE('{{ $folder }}/accounts/{{ $name }}/password'), '');
SET @account = CONCAT(QUOTE(@username), '@''%''');
IF @username = @owner THEN SIGNAL SQLSTATE '45000'
  SET MESSAGE_TEXT = 'database.accounts.{{ $name }} is the owner'; END IF;
EXECUTE IMMEDIATE CONCAT('CREATE OR REPLACE USER ', @account, ' IDENTIFIED BY ', QUOTE(@password));
{{- range $table, $rights := $account.tables }}
{{- if $rights }}
{{- $on := printf "ON `%s`.`%s`" $.Values.database.name $table }}
EXECUTE IMMEDIATE CONCAT('GRANT CREATE, {{ join ", " $rights }} {{ $on }} TO ', @account);
EXECUTE IMMEDIATE CONCAT('REVOKE CREATE {{ $on }} FROM ', @account);
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
