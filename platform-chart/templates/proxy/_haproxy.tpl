{{/* What the proxy's ConfigMap holds. (root) */}}
{{- define "platform.proxy.files" -}}
certificate.lua: |
  {{- .Files.Get "files/proxy/certificate.lua" | trim | nindent 2 }}
haproxy.cfg: |
  {{- include "platform.proxy.configuration" . | trim | nindent 2 }}
{{- end -}}

{{/* An error answer of the proxy's own: the shape is that of api-rest's. list status code message */}}
{{- define "platform.proxy.error" -}}
{{- $body := dict "error" (dict "code" (index . 1) "message" (index . 2)) | toJson -}}
http-error status {{ index . 0 }} content-type application/json string '{{ $body }}' hdr Cache-Control no-store
{{- if has (index . 0) (list 429 503) }} hdr Retry-After 1{{ end }}
{{- end -}}

{{/* (root) */}}
{{- define "platform.proxy.configuration" -}}
{{- $proxy := .Values.proxy -}}
{{- $limits := $proxy.limits -}}
{{- $unlessTrusted := ternary " unless trusted" "" (not (empty $proxy.trustedProxies)) -}}
# Ends TLS for the app on 127.0.0.1. BACKEND_PORT is the container's.

global
    log stdout format raw local0 info
    maxconn {{ $proxy.maxConnections }}
    nbthread {{ $proxy.threads }}
    # The app answers headers that are too large, not the proxy: this is more than api-rest takes.
    tune.bufsize 32768
    # Told to stop (SIGUSR1), it listens no more, closes what rests and finishes what is under way, for so long at most.
    hard-stop-after {{ $proxy.timeouts.response }}s
    lua-load /usr/local/etc/haproxy/certificate.lua /certificate/certificate.pem /certificate/./certificate.pem
    # No session is resumed: it would say nothing about a new certificate, and a handshake with an elliptic curve costs little more.
    tune.ssl.cachesize 0
    # Mozilla's "intermediate": what every client since 2014 speaks, with forward secrecy and authenticated encryption alone.
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-curves X25519:prime256v1:secp384r1
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256

defaults
    mode http
    log global
    # The app logs its requests; what it never saw or did not answer well is logged here.
    option dontlognull
    option dontlog-normal
    log-format '%{+json}o %(client)ci %(method)HM %(path)HPO %(status)ST %(termination)tsc %(milliseconds)Ta %(retries)rc'
    error-log-format '%{+json}o %(client)ci %(error)[fc_err_str] %(tls)[ssl_fc_err_str]'
    timeout connect {{ $proxy.timeouts.connect }}s
    timeout http-request {{ $proxy.timeouts.request }}s
    timeout client {{ $proxy.timeouts.request }}s
    timeout http-keep-alive {{ $proxy.timeouts.idle }}s
    timeout server {{ $proxy.timeouts.response }}s
    timeout tunnel 1h
    # An app that was just restarted is asked again. A request that it may have begun is sent again only where repeating is harmless.
    retries 3
    retry-on conn-failure empty-response
    {{ include "platform.proxy.error" (list 400 "bad-request" "this is no proper HTTP request") }}
    {{ include "platform.proxy.error" (list 408 "timeout" "the request was not whole in time") }}
    {{ include "platform.proxy.error" (list 429 "too-many-requests" "too many requests from this address") }}
    {{ include "platform.proxy.error" (list 502 "bad-gateway" "what the app answered was cut or is no proper HTTP") }}
    {{ include "platform.proxy.error" (list 503 "unavailable" "the app does not take requests") }}
    {{ include "platform.proxy.error" (list 504 "gateway-timeout" "the app did not answer in time") }}

frontend https
    # HTTP/1.1 alone: there an answer can ask its client to leave, which is what makes a pod's end go unnoticed.
    bind :8443 ssl crt /certificate/certificate.pem alpn http/1.1
{{- with $proxy.trustedProxies }}
    acl trusted src {{ join " " . }}
{{- end }}
{{- if or $limits.connections $limits.requestsPerSecond }}
    tcp-request connection track-sc0 src table clients{{ $unlessTrusted }}
{{- end }}
{{- with $limits.connections }}
    tcp-request connection reject if { sc0_conn_cur gt {{ . }} }
{{- end }}
{{- with $limits.requestsPerSecond }}
    http-request deny deny_status 429 if { sc0_http_req_rate gt {{ mul 10 . }} }
{{- end }}
    http-request disable-l7-retry unless METH_GET or { method HEAD }
    # Who the client is, is said by the proxy alone.
    http-request del-header forwarded{{ $unlessTrusted }}
    http-request del-header x-real-ip{{ $unlessTrusted }}
    http-request del-header x-forwarded- -m beg{{ $unlessTrusted }}
    http-request del-header proxy
    http-request set-header X-Forwarded-Proto https unless { req.hdr(x-forwarded-proto) -m found }
    option forwardfor
    http-after-response set-header Connection close if { var(proc.leaving) -m bool }
    default_backend app

backend app
    # Connections are given up long before an app closes them as idle.
    server app 127.0.0.1:"${BACKEND_PORT}" pool-purge-delay 2s

# Whoever connects, and only the pod itself can, says that the pod is about to end: clients are asked to go elsewhere from then on.
frontend leaving
    bind 127.0.0.1:8405
    tcp-request connection set-var(proc.leaving) bool(true)
    tcp-request connection reject

# Where a new certificate is tried before it is used.
frontend trial
    bind 127.0.0.1:8406 ssl crt /certificate/./certificate.pem
    http-request return status 200

frontend health
    bind :8404
    monitor-uri /health
    http-request use-service prometheus-exporter if { path /metrics }
    http-request return status 404
{{- if or $limits.connections $limits.requestsPerSecond }}

backend clients
    stick-table type ipv6 size 20k expire 1m store conn_cur,http_req_rate(10s)
{{- end }}
{{- end -}}
