{{/*
TLS for components. One certificate serves every component that has `tls.enabled`, so that its three
sources work in the same way. Who may read one Secret of the release may read the others too.
*/}}

{{/* The names of the components with TLS, as a JSON list. (root) */}}
{{- define "platform.tls.components" -}}
{{- $names := list -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- if $component.tls.enabled -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The host names of a component's Service, as a JSON list. (dict root name) */}}
{{- define "platform.tls.hosts" -}}
{{- $domain := .root.Values.tls.clusterDomain -}}
{{- include "platform.hosts" (dict "root" .root "name" .name "domain" $domain) -}}
{{- end -}}

{{/* Every name in the certificate, as a JSON list. (root) */}}
{{- define "platform.tls.names" -}}
{{- $names := list -}}
{{- range include "platform.tls.components" . | fromJsonArray -}}
{{- $hosts := include "platform.tls.hosts" (dict "root" $ "name" .) -}}
{{- $names = concat $names (fromJsonArray $hosts) -}}
{{- end -}}
{{- concat $names .Values.tls.extraNames | uniq | toJson -}}
{{- end -}}

{{/* The Secret with tls.crt, tls.key and, unless tls.publicCA is set, ca.crt. (root) */}}
{{- define "platform.tls.secretName" -}}
{{- .Values.tls.existingSecret | default (include "platform.name" (dict "root" . "name" "tls")) -}}
{{- end -}}

{{/* The Secret that clients read ca.crt from. One that the chart makes has no key. (root) */}}
{{- define "platform.tls.caSecretName" -}}
{{- if .Values.tls.selfSigned.enabled -}}
{{- include "platform.name" (dict "root" . "name" "ca") -}}
{{- else -}}
{{- include "platform.tls.secretName" . -}}
{{- end -}}
{{- end -}}

{{/* The number of the port that the proxy forwards to. (dict component) */}}
{{- define "platform.tls.backendPort" -}}
{{- $port := .component.tls.backendPort -}}
{{- if kindIs "string" $port -}}
{{- $port = (get .component.ports $port).port -}}
{{- end -}}
{{- int64 $port -}}
{{- end -}}

{{/*
The proxy, as a list with one entry of initContainers. Kubernetes stops it after the app, but runs
its hook at once. While the app lingers, HAProxy goes on and asks its clients to reconnect. After
two thirds of that time it closes its port and idle connections; the app still accepts what HAProxy
has accepted by then. (HAProxy's own `grace` would leave idle connections open.)
(dict root name component)
*/}}
{{- define "platform.tls.sidecar" -}}
{{- $proxy := .root.Values.proxy -}}
{{- $linger := int64 .component.shutdown.linger -}}
{{- $milliseconds := div (mul 2000 $linger) 3 -}}
- name: proxy
  image: {{ include "platform.image" (dict "root" .root "image" $proxy.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  restartPolicy: Always
  {{- /* Not the image's entrypoint, which starts a master process to reload it. */}}
  command: [haproxy, -db, -f, /usr/local/etc/haproxy/haproxy.cfg]
  env:
    - name: BACKEND_PORT
      value: {{ include "platform.tls.backendPort" . | quote }}
    {{- $metrics := .component.metrics }}
    - name: PRIVATE_PATH
      {{- $private := and $metrics.port (ne (toString $metrics.port) "https") }}
      value: {{ ternary $metrics.path "none" (not (empty $private)) | quote }}
  ports:
    - name: https
      containerPort: 8443
      protocol: TCP
    - name: proxy-metrics
      containerPort: 8404
      protocol: TCP
  readinessProbe:
    httpGet: {path: /health, port: proxy-metrics}
    periodSeconds: 5
    timeoutSeconds: 2
  livenessProbe:
    httpGet: {path: /health, port: proxy-metrics}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- if $linger }}
  {{- $seconds := printf "%d.%03d" (div $milliseconds 1000) (mod $milliseconds 1000) }}
  {{- $leave := "exec 3<>/dev/tcp/127.0.0.1/8405" }}
  lifecycle:
    preStop:
      exec:
        command: [bash, -c, "{{ $leave }}; sleep {{ $seconds }}; kill -USR1 1"]
  {{- end }}
  resources:
    {{- toYaml $proxy.resources | nindent 4 }}
  securityContext:
    {{- include "platform.containerSecurityContext" . | nindent 4 }}
    runAsUser: {{ $proxy.user }}
    runAsGroup: {{ $proxy.user }}
  volumeMounts:
    - name: proxy
      mountPath: /usr/local/etc/haproxy
      readOnly: true
    - name: certificate
      mountPath: /certificate
      readOnly: true
{{- end -}}

{{/* The proxy's volumes. HAProxy reads the key from the certificate's path with .key added. */}}
{{- define "platform.tls.volumes" -}}
- name: proxy
  configMap:
    name: {{ include "platform.name" (dict "root" .root "name" "proxy") }}
- name: certificate
  secret:
    secretName: {{ include "platform.tls.secretName" .root }}
    items:
      - key: tls.crt
        path: certificate.pem
      - key: tls.key
        path: certificate.pem.key
{{- end -}}
