{{/* Says "true" where there is something to test: the component is there, and speaks TLS. (root) */}}
{{- define "platform.tests.enabled" -}}
{{- if and .Values.tests.enabled (has .Values.tests.component (include "platform.tls.components" . | fromJsonArray)) -}}
true
{{- end -}}
{{- end -}}

{{/*
A pod of `helm test`: it runs a script of files/helm-test and ends. It stays until the next test, so that its log can be read.
dict root name weight script args
*/}}
{{- define "platform.tests.pod" -}}
{{- $tests := .root.Values.tests -}}
{{- $component := get (include "platform.components" .root | fromJson) $tests.component -}}
{{- $image := $component.image -}}
{{- if $tests.image.repository -}}
{{- $image = $tests.image -}}
{{- end -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "platform.name" . }}
  labels:
    {{- include "platform.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "platform.podSecurityContext" (dict "user" 65532) | nindent 4 }}
  containers:
    - name: test
      image: {{ include "platform.image" (dict "image" $image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- /* The script itself, not a ConfigMap with it: `helm test --logs` takes every hook of the tests for a pod. */}}
      command: {{ concat (list "python3" "-I" "-u" "-c" (.root.Files.Get (printf "files/helm-test/%s" .script))) .args | toJson }}
      env:
        - name: TIMEOUT
          value: {{ $tests.timeout | quote }}
        {{- if not .root.Values.tls.publicCA }}
        - name: CA_FILE
          value: /ca/ca.crt
        {{- end }}
        {{- with $tests.token.secret }}
        - name: TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ . }}
              key: {{ $tests.token.key }}
        {{- end }}
      resources:
        {{- toYaml $tests.resources | nindent 8 }}
      securityContext:
        {{- include "platform.containerSecurityContext" . | nindent 8 }}
      {{- if not .root.Values.tls.publicCA }}
      volumeMounts:
        - name: ca
          mountPath: /ca
          readOnly: true
      {{- end }}
  {{- if not .root.Values.tls.publicCA }}
  volumes:
    - name: ca
      secret:
        secretName: {{ include "platform.tls.caSecretName" .root }}
        items:
          - key: ca.crt
            path: ca.crt
  {{- end }}
{{- end -}}
