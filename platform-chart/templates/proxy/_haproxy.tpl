{{/* The data of the proxy's ConfigMap. (root) */}}
{{- define "platform.proxy.files" -}}
certificate.lua: |
  {{- .Files.Get "files/proxy/certificate.lua" | trim | nindent 2 }}
haproxy.cfg: |
  {{- include "platform.proxy.configuration" . | trim | nindent 2 }}
{{- end -}}

{{/* The proxy's error responses, in the form of api-rest's. */}}
{{- define "platform.proxy.errors" -}}
{{- range list
  (list 400 "bad-request" "this is not valid HTTP")
  (list 404 "not-found" "there is nothing at this address")
  (list 408 "timeout" "the request was not complete in time")
  (list 429 "too-many-requests" "too many requests from this address")
  (list 502 "bad-gateway" "the response of the app was incomplete or not valid HTTP")
  (list 503 "unavailable" "the app does not accept requests, or too many wait")
  (list 504 "gateway-timeout" "the app did not respond in time")
-}}
{{- $status := index . 0 -}}
{{- $body := dict "error" (dict "code" (index . 1) "message" (index . 2)) | toJson }}
http-error status {{ $status }} content-type application/json string '{{ $body }}'
{{- print " hdr Cache-Control no-store" }}
{{- if has $status (list 429 503) }} hdr Retry-After 1{{ end }}
{{- end -}}
{{- end -}}

{{/* (root) */}}
{{- define "platform.proxy.configuration" -}}
{{- $proxy := .Values.proxy -}}
{{- $limits := $proxy.limits -}}
{{- $unlessTrusted := ternary " unless trusted" "" (not (empty $proxy.trustedProxies)) -}}
# Ends TLS for the app on 127.0.0.1. BACKEND_PORT is the container's; PRIVATE_PATH is for scrapers,
# which use another port.

global
    log stdout format raw local0 info
    maxconn {{ $proxy.maxConnections }}
    nbthread {{ $proxy.threads }}
    # The largest request of api-rest's, headers and body, waits here until it is whole.
    tune.bufsize 90112
    # How long HAProxy may finish requests after SIGUSR1. It closes its ports and idle connections.
    hard-stop-after {{ $proxy.timeouts.response }}s
    lua-load /usr/local/etc/haproxy/certificate.lua /certificate/certificate.pem
    {{- print " /certificate/./certificate.pem" }}
    # A resumed session would keep an old certificate; a handshake with an elliptic curve is fast.
    tune.ssl.cachesize 0
    # Mozilla's "intermediate": forward secrecy and authenticated encryption; clients since 2014.
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-curves X25519:prime256v1:secp384r1
    ssl-default-bind-ciphers {{ join ":" (list
      "ECDHE-ECDSA-AES128-GCM-SHA256" "ECDHE-RSA-AES128-GCM-SHA256"
      "ECDHE-ECDSA-AES256-GCM-SHA384" "ECDHE-RSA-AES256-GCM-SHA384"
      "ECDHE-ECDSA-CHACHA20-POLY1305" "ECDHE-RSA-CHACHA20-POLY1305"
    ) }}
    ssl-default-bind-ciphersuites {{ join ":" (list
      "TLS_AES_128_GCM_SHA256" "TLS_AES_256_GCM_SHA384" "TLS_CHACHA20_POLY1305_SHA256"
    ) }}

defaults
    mode http
    log global
    # The app logs its requests. The proxy logs only those that did not reach it or failed.
    option dontlognull
    option dontlog-normal
    log-format '%{+json}o {{ join " " (list
      "%(client)ci" "%(method)HM" "%(path)HPO" "%(status)ST" "%(termination)tsc" "%(milliseconds)Ta"
      "%(retries)rc"
    ) }}'
    error-log-format '%{+json}o %(client)ci %(error)[fc_err_str] %(tls)[ssl_fc_err_str]'
    timeout connect {{ $proxy.timeouts.connect }}s
    # The app gets whole requests: within this time, and up to the size of the buffer.
    option http-buffer-request
    timeout http-request {{ $proxy.timeouts.request }}s
    # The app could not tell X_Y from X-Y.
    option http-restrict-req-hdr-names delete
    timeout queue {{ $proxy.timeouts.queue }}s
    timeout client {{ $proxy.timeouts.request }}s
    timeout http-keep-alive {{ $proxy.timeouts.idle }}s
    timeout server {{ $proxy.timeouts.response }}s
    timeout tunnel 1h
    # For an app that has just restarted. Below, only GET and HEAD are repeated once sent.
    retries 3
    retry-on conn-failure empty-response
    {{- include "platform.proxy.errors" . | trim | nindent 4 }}

frontend https
    # HTTP/1.1 only: its responses can ask clients to reconnect, so that none meets a stopped pod.
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
    http-request disable-l7-retry unless METH_GET
    http-request deny deny_status 400 unless { req.hdr(host) -m found } or HTTP_1.0
    # The end of a line or of a text, once decoded.
    http-request deny deny_status 400 if { path -m sub -i %00 %0a %0d }
    # Only the proxy states who the client is, and only a trusted one who the user is.
    {{- range list "forwarded" "x-real-ip" "x-forwarded- -m beg" "x-auth-request- -m beg"
      "x-remote- -m beg" "remote- -m beg" }}
    http-request del-header {{ . }}{{ $unlessTrusted }}
    {{- end }}
    http-request del-header proxy
    http-request deny deny_status 404 if { path,url_dec,regsub(^/+,/) "${PRIVATE_PATH}" }
    http-request set-header X-Forwarded-Proto https unless { req.hdr(x-forwarded-proto) -m found }
    option forwardfor if-none
    http-after-response set-header Connection close if { var(proc.leaving) -m bool }
    use_backend reads if METH_GET
    default_backend writes

# Two queues, so that readers never block recording. Idle connections are closed before the app
# closes them.
{{- range list "reads" "writes" }}

backend {{ . }}
    server app 127.0.0.1:"${BACKEND_PORT}" maxconn {{ $proxy.maxRequests }} pool-purge-delay 2s
{{- end }}

# The pod's hook connects here before the pod ends; from then on clients are asked to reconnect.
frontend leaving
    bind 127.0.0.1:8405
    tcp-request connection set-var(proc.leaving) bool(true)
    tcp-request connection reject

# Here a new certificate is tested before it is used.
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
