{{/* The pods of a component. (dict root name component), unless a comment says otherwise. */}}

{{/* The pod template of a component's workload. */}}
{{- define "platform.component.podTemplate" -}}
{{- $checksums := include "platform.component.checksums" . | fromJson -}}
metadata:
  labels:
    {{- include "platform.podLabels" . | nindent 4 }}
    {{- with .component.podLabels }}
    {{- include "platform.texts" . | fromJson | toYaml | nindent 4 }}
    {{- end }}
  {{- with merge $checksums (include "platform.texts" .component.podAnnotations | fromJson) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- $spec := include "platform.component.podSpec" . }}
  {{- $own := deepCopy .component.podSpec }}
  {{- if .component.serviceAccount.automountServiceAccountToken }}
  {{- $own = merge $own (dict "automountServiceAccountToken" true) }}
  {{- end }}
  {{- with $own }}
  {{- $spec = mergeOverwrite (fromYaml $spec) . | toYaml }}
  {{- end }}
  {{- $spec | nindent 2 }}
{{- end -}}

{{/*
Annotations that restart the pods when an object that the chart makes for them changes, as JSON.
Certificates have none, since the proxy reloads them. Generated passwords have none: they do not
change.
*/}}
{{- define "platform.component.checksums" -}}
{{- $checksums := dict -}}
{{- with .component.config -}}
{{- $_ := set $checksums "checksum/config" (include "platform.texts" . | sha256sum) -}}
{{- end -}}
{{- $secrets := include "platform.component.secretValues" . -}}
{{- if ne $secrets "{}" -}}
{{- $_ := set $checksums "checksum/secrets" ($secrets | sha256sum) -}}
{{- end -}}
{{- if has "database" .component.uses -}}
{{- $login := dict "root" .root "account" (.component.databaseAccount | default "") -}}
{{- with include "platform.database.password" $login -}}
{{- $_ := set $checksums "checksum/database" (sha256sum .) -}}
{{- end -}}
{{- end -}}
{{- range $volume, $source := .component.volumes -}}
{{- $files := $source.files | default $source.secretFiles -}}
{{- if and $files (not $source.reloaded) -}}
{{- $_ := set $checksums (printf "checksum/%s" $volume) (toJson $files | sha256sum) -}}
{{- end -}}
{{- end -}}
{{- if .component.tls.enabled -}}
{{- $_ := set $checksums "checksum/proxy" (include "platform.proxy.files" .root | sha256sum) -}}
{{- end -}}
{{- toJson $checksums -}}
{{- end -}}

{{- define "platform.component.podSpec" -}}
{{- $component := .component -}}
{{- $shutdown := $component.shutdown -}}
serviceAccountName: {{ include "platform.component.serviceAccount" . }}
{{ include "platform.podDefaults" .root }}
{{- if hasSuffix "Job" $component.kind }}
restartPolicy: OnFailure
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ add $shutdown.linger $shutdown.drain $shutdown.margin }}
securityContext:
  {{- $security := include "platform.podSecurityContext" (dict "user" (int64 $component.user)) }}
  {{- $own := deepCopy $component.podSecurityContext }}
  {{- mergeOverwrite (fromYaml $security) $own | toYaml | nindent 2 }}
{{- with include "platform.component.affinity" . | fromJson }}
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
{{- $init := include "platform.hardened" (merge (dict "key" "initContainers") .) | fromJsonArray }}
{{- if $component.tls.enabled }}
{{- /* Last: the other init containers run before the app, and need no proxy. */}}
{{- $init = concat $init (include "platform.tls.sidecar" . | fromYamlArray) }}
{{- end }}
{{- with $init }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  {{- include "platform.component.container" . | nindent 2 }}
  {{- with include "platform.hardened" (merge (dict "key" "extraContainers") .) | fromJsonArray }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "platform.component.volumes" . | fromJsonArray }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The app's container, as a list with one entry. */}}
{{- define "platform.component.container" -}}
{{- $component := .component -}}
- name: {{ .name }}
  image: {{ include "platform.image" (dict "root" .root "image" $component.image) }}
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
    {{- range $name, $port := . }}
    - name: {{ $name }}
      containerPort: {{ $port.port }}
      protocol: {{ $port.protocol }}
    {{- end }}
  {{- end }}
  {{- with include "platform.component.envFrom" . | fromJsonArray }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "platform.component.env" . | fromJsonArray }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $probe := list "startup" "liveness" "readiness" }}
  {{- with get $component.probes $probe }}
  {{ $probe }}Probe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with include "platform.component.lifecycle" . | fromJson }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml $component.resources | nindent 4 }}
  securityContext:
    {{- $security := include "platform.containerSecurityContext" . | fromYaml }}
    {{- mergeOverwrite $security (deepCopy $component.securityContext) | toYaml | nindent 4 }}
  {{- with include "platform.component.volumeMounts" . | fromJsonArray }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
The user's own containers, as JSON: each with the security context that Pod Security "restricted"
requires, except where it sets its own. (dict root component key)
*/}}
{{- define "platform.hardened" -}}
{{- $hardened := list -}}
{{- range get .component .key -}}
{{- $security := include "platform.containerSecurityContext" $ | fromYaml -}}
{{- $container := deepCopy . -}}
{{- $merged := mergeOverwrite $security ($container.securityContext | default dict) -}}
{{- $_ := set $container "securityContext" $merged -}}
{{- $image := include "platform.mirrored" (dict "root" $.root "reference" .image) -}}
{{- $hardened = append $hardened (set $container "image" $image) -}}
{{- end -}}
{{- toJson $hardened -}}
{{- end -}}

{{/*
The variables, as a JSON list. A variable of the user's replaces the chart's. Variables from Secrets
come before literal ones, which may then refer to them: $(DB_PASSWORD).
*/}}
{{- define "platform.component.env" -}}
{{- $component := .component -}}
{{- $own := list -}}
{{- range $variable, $secret := $component.secrets -}}
{{- $source := ternary $.name $secret.from (hasKey $secret "value") -}}
{{- $name := $secret.secret -}}
{{- with $source -}}
{{- $name = include "platform.name" (dict "root" $.root "name" .) -}}
{{- end -}}
{{- $key := ternary $variable ($secret.key | default $variable) (hasKey $secret "value") -}}
{{- $reference := dict "name" $name "key" $key -}}
{{- if $secret.optional -}}
{{- $_ := set $reference "optional" true -}}
{{- end -}}
{{- $value := dict "secretKeyRef" $reference -}}
{{- $own = append $own (dict "name" $variable "valueFrom" $value) -}}
{{- end -}}
{{- range $variable, $value := $component.env -}}
{{- $own = append $own (dict "name" $variable "value" (include "platform.text" $value)) -}}
{{- end -}}
{{- $own = concat $own $component.extraEnv -}}
{{- $names := list -}}
{{- range $own -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $env := list -}}
{{- range include "platform.component.chartEnv" . | fromJsonArray -}}
{{- if not (has .name $names) -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $env $own) -}}
{{- end -}}

{{/* The variables that the chart sets, as a JSON list. */}}
{{- define "platform.component.chartEnv" -}}
{{- $component := .component -}}
{{- $env := list -}}
{{- if has "kafka" $component.uses -}}
{{- $env = concat $env (include "platform.kafka.env" .root | fromYamlArray) -}}
{{- end -}}
{{- if has "database" $component.uses -}}
{{- $login := dict "root" .root "account" ($component.databaseAccount | default "") -}}
{{- $env = concat $env (include "platform.database.env" $login | fromYamlArray) -}}
{{- end -}}
{{- $values := merge (dict "environment" .root.Values.environment) $component.shutdown -}}
{{- if has "token" $component.uses -}}
{{- $env = append $env (dict "name" "TOKENS_FILE" "value" "/etc/platform/token/tokens") -}}
{{- end -}}
{{- range $setting, $variable := $component.variables -}}
{{- if $variable -}}
{{- $value := include "platform.text" (get $values $setting) -}}
{{- $env = append $env (dict "name" $variable "value" $value) -}}
{{- end -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/*
The ConfigMaps and Secrets of which every key becomes a variable, as a JSON list. The chart's own is
last: it overrides the others.
*/}}
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
Hooks, as JSON. Before Kubernetes stops an app that has no setting for `linger`, it sleeps that
long, which needs no program in the image. Kubernetes can do so from 1.30 on.
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
The affinity from capacityType and the user's own, as JSON. Kubernetes ORs the terms of a required
node affinity, so each of them gets the capacity type. Kafka and the database have it too.
(dict root component)
*/}}
{{- define "platform.component.affinity" -}}
{{- $affinity := deepCopy (.component.affinity | default dict) -}}
{{- $capacityType := .component.capacityType | default dict -}}
{{- $label := .root.Values.capacityTypeLabel -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- with $capacityType.require -}}
{{- $expression := dict "key" $label "operator" "In" "values" (list .) -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $required.nodeSelectorTerms | default (list dict) -}}
{{- $expressions := append (.matchExpressions | default list) $expression -}}
{{- $terms = append $terms (merge (dict "matchExpressions" $expressions) .) -}}
{{- end -}}
{{- $required = dict "nodeSelectorTerms" $terms -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" $required -}}
{{- end -}}
{{- with $capacityType.prefer | default $capacityType.avoid -}}
{{- $preferred := $node.preferredDuringSchedulingIgnoredDuringExecution | default list -}}
{{- $operator := ternary "In" "NotIn" (not (empty $capacityType.prefer)) -}}
{{- $own := dict "key" $label "operator" $operator "values" (list .) -}}
{{- $preferences := list (dict "weight" 75 "expression" $own) -}}
{{- if $.component.spread -}}
{{- /*
The scheduler gives the best node by preferences as many points as the best node by spreading: all
pods may end up on one spot node. A preference that every node meets leaves 75 % of these points to
the capacity type.
*/ -}}
{{- $every := dict "key" "kubernetes.io/os" "operator" "In" "values" (list "linux") -}}
{{- $preferences = append $preferences (dict "weight" 25 "expression" $every) -}}
{{- end -}}
{{- range $preferences -}}
{{- $preference := dict "matchExpressions" (list .expression) -}}
{{- $preferred = append $preferred (dict "weight" .weight "preference" $preference) -}}
{{- end -}}
{{- $_ := set $node "preferredDuringSchedulingIgnoredDuringExecution" $preferred -}}
{{- end -}}
{{- if $node -}}
{{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- toJson $affinity -}}
{{- end -}}

{{/*
The topology spread constraints, the chart's and the user's, as a JSON list. Each counts the
component's own pods, unless it has a selector.
*/}}
{{- define "platform.component.spread" -}}
{{- $selector := dict "matchLabels" (include "platform.selectorLabels" . | fromYaml) -}}
{{- $constraints := list -}}
{{- if .component.spread -}}
{{- $hosts := dict "topologyKey" "kubernetes.io/hostname" "maxSkew" 1 -}}
{{- $_ := set $hosts "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $constraints = append $constraints $hosts -}}
{{- end -}}
{{- $spread := list -}}
{{- range concat $constraints (deepCopy .component.topologySpreadConstraints) -}}
{{- if not .labelSelector -}}
{{- $_ := set . "labelSelector" $selector -}}
{{- /* Old pods do not count during a rollout, or the new ones would end up on one node. */ -}}
{{- if and (eq $.component.kind "Deployment") (not .matchLabelKeys) -}}
{{- $_ := set . "matchLabelKeys" (list "pod-template-hash") -}}
{{- end -}}
{{- end -}}
{{- $spread = append $spread . -}}
{{- end -}}
{{- toJson $spread -}}
{{- end -}}

{{/* The volume mounts of the app's container, as a JSON list. */}}
{{- define "platform.component.volumeMounts" -}}
{{- $mounts := list -}}
{{- range $sources := list .component.volumes .component.claims -}}
{{- range $name, $source := $sources -}}
{{- $mount := dict "name" $name "mountPath" $source.mountPath -}}
{{- with $source.subPath -}}
{{- $_ := set $mount "subPath" . -}}
{{- end -}}
{{- $files := or $source.files $source.secretFiles $source.configMap $source.secret -}}
{{- if or $source.readOnly $files -}}
{{- $_ := set $mount "readOnly" true -}}
{{- end -}}
{{- $mounts = append $mounts $mount -}}
{{- end -}}
{{- end -}}
{{- $uses := dict "root" .root "uses" .component.uses -}}
{{- toJson (concat $mounts (include "platform.backend.volumeMounts" $uses | fromJsonArray)) -}}
{{- end -}}

{{/* The pods' volumes, as a JSON list. A StatefulSet's claims are in volumeClaimTemplates. */}}
{{- define "platform.component.volumes" -}}
{{- $volumes := list -}}
{{- $prefix := include "platform.name" . -}}
{{- range $name, $source := .component.volumes -}}
{{- $volume := dict "name" $name -}}
{{- $default := printf "%s-%s" $prefix $name -}}
{{- $projection := include "platform.component.projection" $source | fromJson -}}
{{- if or $source.configMap $source.files -}}
{{- $reference := dict "name" ($source.configMap | default $default) -}}
{{- $_ := set $volume "configMap" (merge $reference $projection) -}}
{{- else if or $source.secret $source.secretFiles -}}
{{- $reference := dict "secretName" ($source.secret | default $default) -}}
{{- $_ := set $volume "secret" (merge $reference $projection) -}}
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
{{- if or $claim.existingClaim (ne $.component.kind "StatefulSet") -}}
{{- $claimName := $claim.existingClaim | default (printf "%s-%s" $prefix $name) -}}
{{- $reference := dict "claimName" $claimName -}}
{{- $volumes = append $volumes (dict "name" $name "persistentVolumeClaim" $reference) -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $volumes (include "platform.component.chartVolumes" . | fromJsonArray)) -}}
{{- end -}}

{{/* The volumes that the chart adds to a component's, as a JSON list. (dict root component) */}}
{{- define "platform.component.chartVolumes" -}}
{{- $uses := dict "root" .root "uses" .component.uses -}}
{{- $volumes := include "platform.backend.volumes" $uses | fromJsonArray -}}
{{- if .component.tls.enabled -}}
{{- $volumes = concat $volumes (include "platform.tls.volumes" . | fromYamlArray) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}

{{/*
The file that each of `uses` needs, as a JSON list of {path, volume, secret, key}. Without a Secret
there is none. (dict root uses)
*/}}
{{- define "platform.backend.files" -}}
{{- $files := list -}}
{{- range list
  (list "kafka" "kafka-ca" "ca.crt" (include "platform.kafka.caSecret" .root))
  (list "database" "database-ca" "ca.crt" (include "platform.database.caSecret" .root))
  (list "token" "token" "tokens" (include "platform.token.secret" .root))
-}}
{{- $path := printf "/etc/platform/%s" (index . 0) -}}
{{- $file := dict "path" $path "volume" (index . 1) "key" (index . 2) "secret" (index . 3) -}}
{{- if and $file.secret (has (index . 0) $.uses) -}}
{{- $files = append $files $file -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{- define "platform.backend.volumes" -}}
{{- $volumes := list -}}
{{- range include "platform.backend.files" . | fromJsonArray -}}
{{- $items := list (dict "key" .key "path" .key) -}}
{{- $secret := dict "secretName" .secret "items" $items -}}
{{- $volumes = append $volumes (dict "name" .volume "secret" $secret) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}

{{- define "platform.backend.volumeMounts" -}}
{{- $mounts := list -}}
{{- range include "platform.backend.files" . | fromJsonArray -}}
{{- $mounts = append $mounts (dict "name" .volume "mountPath" .path "readOnly" true) -}}
{{- end -}}
{{- toJson $mounts -}}
{{- end -}}

{{/* Which keys of a ConfigMap or Secret become files, and their mode, as JSON. (volume) */}}
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

{{/*
What a StatefulSet has for its claims, as JSON: {templates, annotations}. Its claim templates cannot
change, so one that exists keeps their sizes, and an annotation has each new size: `inv deploy`
enlarges the claims. (dict root name claims labels)
*/}}
{{- define "platform.claims" -}}
{{- $templates := list -}}
{{- $annotations := dict -}}
{{- range $name, $claim := .claims -}}
{{- if not $claim.existingClaim -}}
{{- $spec := include "platform.component.claimSpec" $claim | fromYaml -}}
{{- $existing := include "platform.claimSize" (merge (dict "claim" $name) $) -}}
{{- with $existing -}}
{{- $_ := set $spec.resources.requests "storage" . -}}
{{- if ne (include "platform.quantity" .) (include "platform.quantity" $claim.size) -}}
{{- $_ := set $annotations (printf "platform/claim-%s" $name) (toString $claim.size) -}}
{{- end -}}
{{- end -}}
{{- $metadata := dict "name" $name -}}
{{- with $.labels -}}
{{- $_ := set $metadata "labels" . -}}
{{- end -}}
{{- $template := dict "apiVersion" "v1" "kind" "PersistentVolumeClaim" "spec" $spec -}}
{{- $templates = append $templates (set $template "metadata" $metadata) -}}
{{- end -}}
{{- end -}}
{{- dict "templates" $templates "annotations" $annotations | toJson -}}
{{- end -}}

{{/* The size in the claim template of a StatefulSet that exists. (dict root name claim) */}}
{{- define "platform.claimSize" -}}
{{- $set := lookup "apps/v1" "StatefulSet" .root.Release.Namespace (include "platform.name" .) -}}
{{- range dig "spec" "volumeClaimTemplates" list $set -}}
{{- if eq .metadata.name $.claim -}}
{{- .spec.resources.requests.storage -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* How the pods of Kafka and the database run, and on which nodes. (dict root name user) */}}
{{- define "platform.backend.podSpec" -}}
{{- $backend := index .root.Values .name -}}
{{- $affinity := include "platform.component.affinity" (dict "root" .root "component" $backend) -}}
{{- $scheduling := pick $backend "nodeSelector" "tolerations" -}}
{{- $_ := set $scheduling "affinity" (fromJson $affinity) -}}
serviceAccountName: {{ include "platform.name" . }}
{{ include "platform.podDefaults" .root }}
{{- with $backend.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- include "platform.podSecurityContext" (dict "user" .user) | nindent 2 }}
{{- include "platform.scheduling" $scheduling }}
{{- end -}}

{{/* The spec of a PersistentVolumeClaim. (claim) */}}
{{- define "platform.component.claimSpec" -}}
accessModes: {{ .accessModes | default (list "ReadWriteOnce") | toJson }}
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
