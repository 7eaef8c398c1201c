{{/* For a namespace that enforces the Pod Security level "restricted". */}}
{{- define "pod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 1
securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: RuntimeDefault } }
{{- end -}}
{{- define "container" -}}
resources: { requests: { cpu: 5m, memory: 16Mi }, limits: { memory: 64Mi } }
securityContext:
  { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end -}}
