{{/* The pods of a component. Each function takes dict root name component, if it says nothing else. */}}

{{/* The pod template of a component's workload. */}}
{{- define "platform.component.podTemplate" -}}
metadata:
  labels:
    {{- include "platform.labels" . | nindent 4 }}
    {{- with .component.podLabels }}
    {{- include "platform.texts" . | fromJson | toYaml | nindent 4 }}
    {{- end }}
  {{- with merge (include "platform.component.checksums" . | fromJson) (include "platform.texts" .component.podAnnotations | fromJson) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "platform.component.podSpec" . | nindent 2 }}
{{- end -}}

{{/*
The checksums that restart the pods when what the chart makes for them has changed, as JSON. Certificates are not among them, the
proxy reads them anew; nor are generated passwords.
*/}}
{{- define "platform.component.checksums" -}}
{{- $checksums := dict -}}
{{- with .component.config -}}
{{- $_ := set $checksums "checksum/config" (include "platform.texts" . | sha256sum) -}}
{{- end -}}
{{- $secrets := include "platform.component.madeSecrets" . -}}
{{- if ne $secrets "{}" -}}
{{- $_ := set $checksums "checksum/secrets" ($secrets | sha256sum) -}}
{{- end -}}
{{- if has "database" .component.uses -}}
{{- $client := dict "root" .root "account" (.component.databaseAccount | default "") -}}
{{- with include "platform.database.givenPassword" $client -}}
{{- $_ := set $checksums "checksum/database" (sha256sum .) -}}
{{- end -}}
{{- end -}}
{{- range $volume, $source := .component.volumes -}}
{{- if and (or $source.files $source.secretFiles) (not $source.reloaded) -}}
{{- $_ := set $checksums (printf "checksum/%s" $volume) (toJson ($source.files | default $source.secretFiles) | sha256sum) -}}
{{- end -}}
{{- end -}}
{{- if .component.tls.enabled -}}
{{- $_ := set $checksums "checksum/proxy" (include "platform.tls.checksum" .) -}}
{{- end -}}
{{- toJson $checksums -}}
{{- end -}}

{{- define "platform.component.podSpec" -}}
{{- $component := .component -}}
{{- $tls := $component.tls.enabled -}}
serviceAccountName: {{ include "platform.component.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ add $component.shutdown.linger $component.shutdown.drain $component.shutdown.margin }}
securityContext:
  {{- $podSecurity := include "platform.podSecurityContext" (dict "user" (int64 $component.user)) | fromYaml }}
  {{- mergeOverwrite $podSecurity (deepCopy $component.podSecurityContext) | toYaml | nindent 2 }}
{{- $affinity := include "platform.component.affinity" . | fromJson }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- include "platform.texts" . | fromJson | toYaml | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "platform.component.spread" . | fromJsonArray }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $init := include "platform.hardened" $component.initContainers | fromJsonArray }}
{{- if $tls }}
{{- /* After the others: it serves beside the app, and they need nobody served. */}}
{{- $init = concat $init (include "platform.tls.sidecar" . | fromYamlArray) }}
{{- end }}
{{- with $init }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "platform.image" (dict "image" $component.image) }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    {{- with $component.command }}
    command: {{ toJson . }}
    {{- end }}
    {{- with $component.args }}
    args: {{ toJson . }}
    {{- end }}
    {{- with $component.workingDir }}
    workingDir: {{ . }}
    {{- end }}
    {{- with $component.ports }}
    ports:
      {{- range $name, $given := . }}
      {{- $port := ternary $given (dict "port" $given) (kindIs "map" $given) }}
      - name: {{ $name }}
        containerPort: {{ $port.port }}
        protocol: {{ $port.protocol | default "TCP" }}
      {{- end }}
    {{- end }}
    {{- $from := include "platform.component.envFrom" . | fromJsonArray }}
    {{- with $from }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with include "platform.component.env" . | fromJsonArray }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- range $probe := list "startup" "liveness" "readiness" }}
    {{- with get $component.probes $probe }}
    {{ $probe }}Probe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with include "platform.component.lifecycle" . | fromJson }}
    lifecycle:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml $component.resources | nindent 6 }}
    securityContext:
      {{- $security := include "platform.containerSecurityContext" . | fromYaml }}
      {{- mergeOverwrite $security (deepCopy $component.securityContext) | toYaml | nindent 6 }}
    {{- with include "platform.component.volumeMounts" . | fromJsonArray }}
    volumeMounts:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- with include "platform.hardened" $component.extraContainers | fromJsonArray }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "platform.component.volumes" . | fromJsonArray }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A user's own containers, each with the security context that the namespace asks for where it has none, as JSON. (list) */}}
{{- define "platform.hardened" -}}
{{- $hardened := list -}}
{{- range . -}}
{{- $security := include "platform.containerSecurityContext" $ | fromYaml -}}
{{- $own := deepCopy . -}}
{{- $_ := set $own "securityContext" (mergeOverwrite $security ($own.securityContext | default dict)) -}}
{{- $hardened = append $hardened $own -}}
{{- end -}}
{{- toJson $hardened -}}
{{- end -}}

{{/*
Variables, as a JSON list. What is given by name wins over what the chart fills in; variables from secrets come before literal
ones, so that these may quote them: $(DB_PASSWORD).
*/}}
{{- define "platform.component.env" -}}
{{- $component := .component -}}
{{- $given := list -}}
{{- $chartName := include "platform.name" . -}}
{{- range $variable, $secret := $component.secrets -}}
{{- $name := $secret.secret -}}
{{- if hasKey $secret "value" -}}
{{- $name = $chartName -}}
{{- else if $secret.from -}}
{{- $name = include "platform.name" (dict "root" $.root "name" $secret.from) -}}
{{- end -}}
{{- $key := ternary $variable ($secret.key | default $variable) (hasKey $secret "value") -}}
{{- $reference := dict "name" $name "key" $key -}}
{{- if $secret.optional -}}
{{- $_ := set $reference "optional" true -}}
{{- end -}}
{{- $given = append $given (dict "name" $variable "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- range $variable, $value := $component.env -}}
{{- $given = append $given (dict "name" $variable "value" (include "platform.text" $value)) -}}
{{- end -}}
{{- $given = concat $given $component.extraEnv -}}
{{- $taken := dict -}}
{{- range $given -}}
{{- $_ := set $taken .name true -}}
{{- end -}}
{{- $filled := list -}}
{{- if has "kafka" $component.uses -}}
{{- $filled = concat $filled (include "platform.kafka.env" .root | fromYamlArray) -}}
{{- end -}}
{{- if has "database" $component.uses -}}
{{- $client := dict "root" .root "account" ($component.databaseAccount | default "") -}}
{{- $filled = concat $filled (include "platform.database.env" $client | fromYamlArray) -}}
{{- end -}}
{{- $values := dict "environment" .root.Values.environment "linger" $component.shutdown.linger "drain" $component.shutdown.drain -}}
{{- range $what, $variable := $component.variables -}}
{{- if $variable -}}
{{- $filled = append $filled (dict "name" $variable "value" (include "platform.text" (get $values $what))) -}}
{{- end -}}
{{- end -}}
{{- $env := list -}}
{{- range $filled -}}
{{- if not (hasKey $taken .name) -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $env $given) -}}
{{- end -}}

{{/* Whole ConfigMaps and Secrets whose keys become variables, as a JSON list. The chart's own comes last: it wins. */}}
{{- define "platform.component.envFrom" -}}
{{- $from := list -}}
{{- range .component.configFrom -}}
{{- $from = append $from (dict "configMapRef" (dict "name" .)) -}}
{{- end -}}
{{- range .component.secretsFrom -}}
{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- if .component.config -}}
{{- $from = append $from (dict "configMapRef" (dict "name" (include "platform.name" .))) -}}
{{- end -}}
{{- toJson $from -}}
{{- end -}}

{{/*
Hooks, as JSON. An app that does not linger by itself is kept serving by a sleep before it is told to stop; Kubernetes knows how
to sleep without a program in the image from 1.30 on.
*/}}
{{- define "platform.component.lifecycle" -}}
{{- $lifecycle := deepCopy .component.lifecycle -}}
{{- $seconds := int64 .component.shutdown.linger -}}
{{- if and $seconds (not .component.variables.linger) (not $lifecycle.preStop) -}}
{{- if semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version -}}
{{- $_ := set $lifecycle "preStop" (dict "sleep" (dict "seconds" $seconds)) -}}
{{- end -}}
{{- end -}}
{{- toJson $lifecycle -}}
{{- end -}}

{{/*
Node affinity from capacityType, together with what the user gives, as JSON. Kubernetes ORs the terms of a required affinity, so
the capacity type is ANDed into each of them; everything else of the user's is kept.
*/}}
{{- define "platform.component.affinity" -}}
{{- $affinity := deepCopy .component.affinity -}}
{{- $label := .root.Values.capacityTypeLabel -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- with .component.capacityType.require -}}
{{- $expression := dict "key" $label "operator" "In" "values" (list .) -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $required.nodeSelectorTerms | default (list dict) -}}
{{- $terms = append $terms (merge (dict "matchExpressions" (append (.matchExpressions | default list) $expression)) .) -}}
{{- end -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- end -}}
{{- with .component.capacityType.prefer -}}
{{- $preferences := $node.preferredDuringSchedulingIgnoredDuringExecution | default list -}}
{{- $preferences = append $preferences (include "platform.component.preference" (dict "weight" 75 "label" $label "value" .) | fromJson) -}}
{{- if $.component.spread -}}
{{- /*
The scheduler scales preferences so that the best node has all of the points, as many as spreading has: a tie, and all pods may end up
on the one spot node that can be taken away. A preference that every node meets leaves 75 % of them to the capacity type.
*/ -}}
{{- $every := include "platform.component.preference" (dict "weight" 25 "label" "kubernetes.io/os" "value" "linux") | fromJson -}}
{{- $preferences = append $preferences $every -}}
{{- end -}}
{{- $_ := set $node "preferredDuringSchedulingIgnoredDuringExecution" $preferences -}}
{{- end -}}
{{- if $node -}}
{{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- toJson $affinity -}}
{{- end -}}

{{/* Nodes that are better than others, as JSON. dict weight label value */}}
{{- define "platform.component.preference" -}}
{{- $expression := dict "key" .label "operator" "In" "values" (list .value) -}}
{{- toJson (dict "weight" .weight "preference" (dict "matchExpressions" (list $expression))) -}}
{{- end -}}

{{/* Spread over nodes, and the user's own constraints, as a JSON list; each counts the component's own pods. */}}
{{- define "platform.component.spread" -}}
{{- $selector := dict "matchLabels" (include "platform.selectorLabels" . | fromYaml) -}}
{{- $constraints := list -}}
{{- if .component.spread -}}
{{- $hosts := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $constraints = append $constraints $hosts -}}
{{- end -}}
{{- $constraints = concat $constraints (deepCopy .component.topologySpreadConstraints) -}}
{{- $spread := list -}}
{{- range $constraints -}}
{{- if not .labelSelector -}}
{{- $_ := set . "labelSelector" $selector -}}
{{- /* Pods of the version that is going do not count, or the new ones would end up on one node. */ -}}
{{- if and (eq $.component.kind "Deployment") (not .matchLabelKeys) -}}
{{- $_ := set . "matchLabelKeys" (list "pod-template-hash") -}}
{{- end -}}
{{- end -}}
{{- $spread = append $spread . -}}
{{- end -}}
{{- toJson $spread -}}
{{- end -}}

{{/* Where volumes and claims appear in the container, as a JSON list. */}}
{{- define "platform.component.volumeMounts" -}}
{{- $mounts := list -}}
{{- range $sources := list .component.volumes .component.claims -}}
{{- range $name, $source := $sources -}}
{{- $mount := dict "name" $name "mountPath" $source.mountPath -}}
{{- with $source.subPath -}}
{{- $_ := set $mount "subPath" . -}}
{{- end -}}
{{- if or $source.readOnly $source.files $source.secretFiles $source.configMap $source.secret -}}
{{- $_ := set $mount "readOnly" true -}}
{{- end -}}
{{- $mounts = append $mounts $mount -}}
{{- end -}}
{{- end -}}
{{- if has "kafka" .component.uses -}}
{{- $mounts = concat $mounts (include "platform.kafka.volumeMounts" .root | fromYamlArray) -}}
{{- end -}}
{{- if has "database" .component.uses -}}
{{- $mounts = concat $mounts (include "platform.database.volumeMounts" .root | fromYamlArray) -}}
{{- end -}}
{{- toJson $mounts -}}
{{- end -}}

{{/* The pods' volumes, as a JSON list; the claims of a StatefulSet are in its volumeClaimTemplates. */}}
{{- define "platform.component.volumes" -}}
{{- $volumes := list -}}
{{- $chartName := include "platform.name" . -}}
{{- range $name, $source := .component.volumes -}}
{{- $volume := dict "name" $name -}}
{{- $made := printf "%s-%s" $chartName $name -}}
{{- if or $source.configMap $source.files -}}
{{- $reference := dict "name" ($source.configMap | default $made) -}}
{{- $_ := set $volume "configMap" (merge $reference (include "platform.component.projection" $source | fromJson)) -}}
{{- else if or $source.secret $source.secretFiles -}}
{{- $reference := dict "secretName" ($source.secret | default $made) -}}
{{- $_ := set $volume "secret" (merge $reference (include "platform.component.projection" $source | fromJson)) -}}
{{- else if $source.claim -}}
{{- $_ := set $volume "persistentVolumeClaim" (dict "claimName" $source.claim) -}}
{{- else if $source.source -}}
{{- $volume = merge $volume (deepCopy $source.source) -}}
{{- else -}}
{{- $_ := set $volume "emptyDir" ($source.emptyDir | default dict) -}}
{{- end -}}
{{- $volumes = append $volumes $volume -}}
{{- end -}}
{{- range $name, $claim := .component.claims -}}
{{- if $claim.existingClaim -}}
{{- $volumes = append $volumes (dict "name" $name "persistentVolumeClaim" (dict "claimName" $claim.existingClaim)) -}}
{{- else if eq $.component.kind "Deployment" -}}
{{- $reference := dict "claimName" (printf "%s-%s" $chartName $name) -}}
{{- $volumes = append $volumes (dict "name" $name "persistentVolumeClaim" $reference) -}}
{{- end -}}
{{- end -}}
{{- if has "kafka" .component.uses -}}
{{- $volumes = concat $volumes (include "platform.kafka.volumes" .root | fromYamlArray) -}}
{{- end -}}
{{- if has "database" .component.uses -}}
{{- $volumes = concat $volumes (include "platform.database.volumes" .root | fromYamlArray) -}}
{{- end -}}
{{- if .component.tls.enabled -}}
{{- $volumes = concat $volumes (include "platform.tls.volumes" . | fromYamlArray) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}

{{/* Which keys of a ConfigMap or Secret become files, and how, as JSON. (volume) */}}
{{- define "platform.component.projection" -}}
{{- $projection := dict -}}
{{- with .items -}}
{{- $items := list -}}
{{- range $key, $path := . -}}
{{- $items = append $items (dict "key" $key "path" $path) -}}
{{- end -}}
{{- $_ := set $projection "items" $items -}}
{{- end -}}
{{- with .defaultMode -}}
{{- $_ := set $projection "defaultMode" . -}}
{{- end -}}
{{- if .optional -}}
{{- $_ := set $projection "optional" true -}}
{{- end -}}
{{- toJson $projection -}}
{{- end -}}

{{/* What a claim asks for. (claim) */}}
{{- define "platform.component.claimSpec" -}}
accessModes: {{ .accessModes | default (list "ReadWriteOnce") | toJson }}
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
