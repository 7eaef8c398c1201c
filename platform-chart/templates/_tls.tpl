{{/*
TLS in front of components. One certificate serves every component of the release that has `tls.enabled`: the three sources then
look alike, and whoever may read one of its Secrets may read them all anyway.
*/}}

{{/* The components that end TLS, as a JSON list of names. (root) */}}
{{- define "platform.tls.components" -}}
{{- $names := list -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- if dig "tls" "enabled" false $component -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The host names of a component's Service, as a JSON list. dict root name */}}
{{- define "platform.tls.hosts" -}}
{{- $service := include "platform.name" . -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $hosts := list $service (printf "%s.%s" $service $namespace) (printf "%s.%s.svc" $service $namespace) -}}
{{- append $hosts (printf "%s.%s.svc.%s" $service $namespace .root.Values.tls.clusterDomain) | toJson -}}
{{- end -}}

{{/* Every name that the certificate is asked for, as a JSON list. (root) */}}
{{- define "platform.tls.names" -}}
{{- $names := list -}}
{{- range include "platform.tls.components" . | fromJsonArray -}}
{{- $names = concat $names (include "platform.tls.hosts" (dict "root" $ "name" .) | fromJsonArray) -}}
{{- end -}}
{{- concat $names .Values.tls.extraNames | uniq | toJson -}}
{{- end -}}

{{/* The Secret with tls.crt and tls.key, and ca.crt where the certificate's CA is not one that everybody knows. (root) */}}
{{- define "platform.tls.secretName" -}}
{{- .Values.tls.existingSecret | default (include "platform.name" (dict "root" . "name" "tls")) -}}
{{- end -}}

{{/* The Secret that clients read ca.crt from: without a key in it where the chart makes it. (root) */}}
{{- define "platform.tls.caSecretName" -}}
{{- if .Values.tls.selfSigned.enabled -}}
{{- include "platform.name" (dict "root" . "name" "ca") -}}
{{- else -}}
{{- include "platform.tls.secretName" . -}}
{{- end -}}
{{- end -}}

{{/* The port that the proxy forwards to: a number, or the name of one of the component's ports. dict component */}}
{{- define "platform.tls.backendPort" -}}
{{- $port := .component.tls.backendPort -}}
{{- if kindIs "string" $port -}}
{{- $port = get .component.ports $port -}}
{{- if kindIs "map" $port -}}
{{- $port = $port.port -}}
{{- end -}}
{{- end -}}
{{- int64 $port -}}
{{- end -}}

{{/*
The sidecar, as a list with one entry of initContainers. Kubernetes stops it after the app, but runs its hook at once: while the app
lingers, HAProxy serves on and asks its clients to go elsewhere. After two thirds of that time it listens no more and closes what rests;
whatever it has taken by then finds an app that still takes requests. (HAProxy's own `grace` would leave open what rests.)
dict root name component
*/}}
{{- define "platform.tls.sidecar" -}}
{{- $proxy := .root.Values.proxy -}}
{{- $linger := int64 .component.shutdown.linger -}}
{{- $serves := div (mul 2000 $linger) 3 -}}
- name: proxy
  image: {{ include "platform.image" (dict "image" $proxy.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  restartPolicy: Always
  {{- /* Not the image's entrypoint: nothing is reloaded, so there is nothing for a master process to do. */}}
  command: [haproxy, -db, -f, /usr/local/etc/haproxy/haproxy.cfg]
  env:
    - name: BACKEND_PORT
      value: {{ include "platform.tls.backendPort" . | quote }}
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
  lifecycle:
    preStop:
      exec:
        command: [bash, -c, "exec 3<>/dev/tcp/127.0.0.1/8405; sleep {{ printf "%d.%03d" (div $serves 1000) (mod $serves 1000) }}; kill -USR1 1"]
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

{{/* The volumes of the sidecar. HAProxy looks for a certificate's key in the file of the same name and .key. */}}
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

{{/* What restarts the sidecar's pods when it changes: the configuration, never the certificate. dict root */}}
{{- define "platform.tls.checksum" -}}
{{- include "platform.proxy.files" .root | sha256sum -}}
{{- end -}}
