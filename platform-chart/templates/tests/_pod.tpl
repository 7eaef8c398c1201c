{{/* Prints "true" if the component to test exists and has TLS. (root) */}}
{{- define "platform.tests.enabled" -}}
{{- $components := include "platform.tls.components" . | fromJsonArray -}}
{{- if and .Values.tests.enabled (has .Values.tests.component $components) -}}
true
{{- end -}}
{{- end -}}

{{/*
A pod of `helm test` that runs a script of files/helm-test. Helm prints its log, by the output
policy, and deletes it if it succeeded; a failed one stays until the next test.
(dict root name weight script args)
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
  {{- include "platform.metadata" . | nindent 2 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "platform.name" (dict "root" .root "name" "test") }}
  {{- include "platform.podDefaults" .root | nindent 2 }}
  securityContext:
    {{- include "platform.podSecurityContext" (dict "user" 65532) | nindent 4 }}
  containers:
    - name: test
      image: {{ include "platform.image" (dict "root" .root "image" $image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- /* The script is an argument: a ConfigMap would be part of every release. */}}
      {{- $script := .root.Files.Get (printf "files/helm-test/%s" .script) }}
      command: {{ concat (list "python3" "-I" "-u" "-c" $script) .args | toJson }}
      env:
        - name: TIMEOUT
          value: {{ $tests.timeout | quote }}
        {{- if not .root.Values.tls.publicCA }}
        - name: CA_FILE
          value: /ca/ca.crt
        {{- end }}
        {{- $secret := $tests.token.secret }}
        {{- $key := $tests.token.key }}
        {{- if and (not $secret) (has "token" $component.uses) }}
        {{- $secret = include "platform.token.secret" .root }}
        {{- $key = "token" }}
        {{- end }}
        {{- with $secret }}
        - name: TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ . }}
              key: {{ $key }}
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
