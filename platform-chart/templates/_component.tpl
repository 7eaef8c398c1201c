{{/* The values of components. Every template of a component starts with platform.components. */}}

{{/*
The enabled components, as JSON: name to values, merged over componentDefaults. A key that is null
in the user's values is empty, or removed. Every port is {port, protocol}. Most templates need them,
and merging takes time, so the root keeps them: Helm gives the same root to every template. (root)
*/}}
{{- define "platform.components" -}}
{{- if not (hasKey . "Components") -}}
{{- $_ := set . "Components" (include "platform.components.merged" .) -}}
{{- end -}}
{{- .Components -}}
{{- end -}}

{{- define "platform.components.merged" -}}
{{- $components := dict -}}
{{- range $name, $values := .Values.components -}}
{{- if kindIs "map" $values -}}
{{- $component := mergeOverwrite (deepCopy $.Values.componentDefaults) (deepCopy $values) -}}
{{- range $key, $value := $values -}}
{{- if kindIs "invalid" $value -}}
{{- $kind := kindOf (get $.Values.componentDefaults $key) -}}
{{- $empty := ternary dict (ternary list "" (eq $kind "slice")) (eq $kind "map") -}}
{{- $_ := set $component $key $empty -}}
{{- end -}}
{{- end -}}
{{- include "platform.prune" $component -}}
{{- range $port, $value := $component.ports -}}
{{- $settings := ternary $value (dict "port" $value) (kindIs "map" $value) -}}
{{- $_ := set $component.ports $port (merge $settings (dict "protocol" "TCP")) -}}
{{- end -}}
{{- if $component.enabled -}}
{{- $_ := set $components $name $component -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $components -}}
{{- end -}}

{{/* Removes null from a map, at every depth. Changes the map and prints nothing. (map) */}}
{{- define "platform.prune" -}}
{{- $map := . -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $key -}}
{{- else if kindIs "map" $value -}}
{{- include "platform.prune" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A scalar as text: 1000000, where Go prints 1e+06. (scalar) */}}
{{- define "platform.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* A map of scalars with every value as text, as JSON. (map) */}}
{{- define "platform.texts" -}}
{{- $texts := dict -}}
{{- range $key, $value := . -}}
{{- $_ := set $texts $key (include "platform.text" $value) -}}
{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{/* The lowest number of pods that a component may have. (dict component) */}}
{{- define "platform.component.minReplicas" -}}
{{- if has .component.kind (list "Deployment" "StatefulSet") -}}
{{- ternary .component.scaling.min .component.replicas .component.scaling.enabled -}}
{{- else -}}
1
{{- end -}}
{{- end -}}

{{/*
The number of pods that a workload is set to; nothing if only its autoscaler sets it. When scaling
is enabled for a workload that has run with a fixed number, a manifest without `replicas` would mean
one pod until the autoscaler acts. So it keeps what runs, within the limits. Helm 3 would also set
one pod at a later upgrade that leaves `replicas` out again: the annotation tells that an earlier
one had it. (dict root name component)
*/}}
{{- define "platform.component.replicas" -}}
{{- $scaling := .component.scaling -}}
{{- if eq .component.kind "DaemonSet" -}}
{{- else if $scaling.enabled -}}
{{- $name := include "platform.name" . -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $live := lookup "apps/v1" .component.kind $namespace $name -}}
{{- $scaler := lookup "autoscaling/v2" "HorizontalPodAutoscaler" $namespace $name -}}
{{- $kept := hasKey (dig "metadata" "annotations" dict $live) "platform/replicas" -}}
{{- if and $live (or $kept (not $scaler)) -}}
{{- min (max (int $live.spec.replicas) (int $scaling.min)) (int $scaling.max) -}}
{{- end -}}
{{- else -}}
{{- .component.replicas -}}
{{- end -}}
{{- end -}}

{{/* The name of a component's service account. (dict root name component) */}}
{{- define "platform.component.serviceAccount" -}}
{{- $default := ternary (include "platform.name" .) "default" .component.serviceAccount.create -}}
{{- .component.serviceAccount.name | default $default -}}
{{- end -}}

{{/*
The text of each entry of `secrets` that a Secret of the chart holds, as JSON: variable to text.
(dict root component)
*/}}
{{- define "platform.component.secretValues" -}}
{{- $values := dict -}}
{{- range $variable, $secret := .component.secrets -}}
{{- if hasKey $secret "value" -}}
{{- $_ := set $values $variable (include "platform.text" $secret.value) -}}
{{- else if $secret.from -}}
{{- $key := $secret.key | default $variable -}}
{{- $source := dig $secret.from "secrets" $key dict $.root.Values.components -}}
{{- $_ := set $values $variable (include "platform.text" (get $source "value")) -}}
{{- end -}}
{{- end -}}
{{- toJson $values -}}
{{- end -}}

{{/* The fields of a Service that are copied as they are. */}}
{{- define "platform.serviceFields" -}}
loadBalancerClass loadBalancerSourceRanges externalTrafficPolicy internalTrafficPolicy
{{- print " trafficDistribution ipFamilyPolicy ipFamilies sessionAffinity" }}
{{- end -}}

{{/* Whether a component's Service is headless: true or false. (dict component) */}}
{{- define "platform.component.headless" -}}
{{- $default := and (eq .component.kind "StatefulSet") (not .component.tls.enabled) -}}
{{- ternary .component.service.headless $default (hasKey .component.service "headless") -}}
{{- end -}}

{{/*
The ports of a component's Service, as JSON: name to {port, targetPort, protocol} and, if set,
nodePort and appProtocol. With TLS, `https` may have these two.
(dict component)
*/}}
{{- define "platform.component.servicePorts" -}}
{{- $ports := dict -}}
{{- if .component.tls.enabled -}}
{{- $https := get (.component.service.ports | default dict) "https" | default dict -}}
{{- $own := pick (ternary $https dict (kindIs "map" $https)) "nodePort" "appProtocol" -}}
{{- $fixed := dict "port" 443 "targetPort" "https" "protocol" "TCP" -}}
{{- $_ := set $ports "https" (merge $fixed $own) -}}
{{- else -}}
{{- $others := omit .component.ports (toString .component.metrics.port) -}}
{{- $default := $others | default .component.ports -}}
{{- range $name, $value := .component.service.ports | default $default -}}
{{- $settings := deepCopy (ternary $value (dict "port" $value) (kindIs "map" $value)) -}}
{{- $protocol := dig $name "protocol" "TCP" $.component.ports -}}
{{- $_ := set $ports $name (merge $settings (dict "targetPort" $name "protocol" $protocol)) -}}
{{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/*
The name of the Service's port that an Ingress or HTTPRoute forwards to: https, http, or the only
one. Empty if there are others only. (dict component)
*/}}
{{- define "platform.component.defaultPort" -}}
{{- $names := include "platform.component.servicePorts" . | fromJson | keys -}}
{{- range list "http" "https" -}}
{{- if has . $names -}}
{{- $names = list . -}}
{{- end -}}
{{- end -}}
{{- if eq (len $names) 1 -}}
{{- first $names -}}
{{- end -}}
{{- end -}}

{{/*
A port's number, from its name among the component's ports or the number itself. With TLS, https is
the proxy's port. (dict component port)
*/}}
{{- define "platform.component.portNumber" -}}
{{- if and (eq (toString .port) "https") .component.tls.enabled -}}
8443
{{- else if kindIs "string" .port -}}
{{- (get .component.ports .port).port -}}
{{- else -}}
{{- .port -}}
{{- end -}}
{{- end -}}

{{/*
What needs nodes of a capacity type, as JSON: capacity type to names of components, Kafka and the
database among them. (root)
*/}}
{{- define "platform.requiredCapacity" -}}
{{- $parts := include "platform.components" . | fromJson -}}
{{- range $backend := list "kafka" "database" -}}
{{- if (index $.Values $backend).enabled -}}
{{- $_ := set $parts $backend (index $.Values $backend) -}}
{{- end -}}
{{- end -}}
{{- $required := dict -}}
{{- range $name, $part := $parts -}}
{{- with ($part.capacityType | default dict).require -}}
{{- $_ := set $required . (append (get $required . | default list) $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $required -}}
{{- end -}}

{{/* platform.requiredCapacity without what a node has, if checkNodes allows to ask. (root) */}}
{{- define "platform.missingCapacity" -}}
{{- $missing := include "platform.requiredCapacity" . | fromJson -}}
{{- if .Values.checkNodes -}}
{{- range (lookup "v1" "Node" "" "").items -}}
{{- $_ := unset $missing (get (.metadata.labels | default dict) $.Values.capacityTypeLabel) -}}
{{- end -}}
{{- end -}}
{{- toJson $missing -}}
{{- end -}}
