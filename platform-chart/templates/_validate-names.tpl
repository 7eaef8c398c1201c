{{/* Objects of one kind and name, of which the last one wins, one mistake a line. (root) */}}
{{- define "platform.validate.names" -}}
{{- $paths := dict -}}
{{- range $object := include "platform.objects" . | fromJsonArray -}}
{{- $key := printf "%s %s" $object.kind $object.name -}}
{{- if hasKey $paths $key }}
{{ $object.path }}: {{ get $paths $key }} makes {{ $key }} too; rename one of them
{{- else -}}
{{- $_ := set $paths $key $object.path -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The objects whose names come from values, as a JSON list of {kind, name, path}. A component's name
is compared with the chart's own in platform.validate.component.identity. (root)
*/}}
{{- define "platform.objects" -}}
{{- $objects := list -}}
{{- range include "platform.reservedNames" . | fromJsonArray -}}
{{- $name := include "platform.name" (dict "root" $ "name" .) -}}
{{- range $kind := list "ConfigMap" "Secret" "Service" "ServiceAccount" "StatefulSet" -}}
{{- $objects = append $objects (dict "kind" $kind "name" $name "path" "the chart") -}}
{{- end -}}
{{- end -}}
{{- range $name, $component := include "platform.components" . | fromJson -}}
{{- if not (has $name (include "platform.reservedNames" $ | fromJsonArray)) -}}
{{- $part := dict "root" $ "name" $name "component" $component -}}
{{- $_ := set $part "path" (printf "components.%s" $name) -}}
{{- $objects = concat $objects (include "platform.component.objects" $part | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- range $index, $object := .Values.extraObjects -}}
{{- $text := tpl (ternary $object (toYaml $object) (kindIs "string" $object)) $ -}}
{{- range regexSplit "(?m)^---" $text -1 -}}
{{- $document := fromYaml . -}}
{{- if and $document.kind $document.metadata -}}
{{- $own := dict "kind" $document.kind "name" ($document.metadata.name | default "") -}}
{{- $objects = append $objects (set $own "path" (printf "extraObjects[%d]" $index)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $objects -}}
{{- end -}}

{{/*
The objects of a component, as a JSON list of {kind, name, path}. (dict root name component path)
*/}}
{{- define "platform.component.objects" -}}
{{- $component := .component -}}
{{- $name := include "platform.name" . -}}
{{- $objects := list (dict "kind" $component.kind "name" $name "path" .path) -}}
{{- range $kind, $key := dict
  "Service" "service" "Ingress" "ingress" "HTTPRoute" "route" "NetworkPolicy" "networkPolicy"
  "HorizontalPodAutoscaler" "scaling"
-}}
{{- if (get $component $key).enabled -}}
{{- $path := printf "%s.%s" $.path $key -}}
{{- $objects = append $objects (dict "kind" $kind "name" $name "path" $path) -}}
{{- end -}}
{{- end -}}
{{- if $component.serviceAccount.create -}}
{{- $account := include "platform.component.serviceAccount" . -}}
{{- $path := printf "%s.serviceAccount" .path -}}
{{- $objects = append $objects (dict "kind" "ServiceAccount" "name" $account "path" $path) -}}
{{- end -}}
{{- if $component.config -}}
{{- $path := printf "%s.config" .path -}}
{{- $objects = append $objects (dict "kind" "ConfigMap" "name" $name "path" $path) -}}
{{- end -}}
{{- range $secret := values $component.secrets -}}
{{- if hasKey $secret "value" -}}
{{- $own := dict "kind" "Secret" "name" $name "path" (printf "%s.secrets" $.path) -}}
{{- $objects = append (without $objects $own) $own -}}
{{- end -}}
{{- end -}}
{{- range $volume, $source := $component.volumes -}}
{{- range $key, $kind := dict "files" "ConfigMap" "secretFiles" "Secret" -}}
{{- if get $source $key -}}
{{- $own := dict "kind" $kind "name" (printf "%s-%s" $name $volume) -}}
{{- $objects = append $objects (set $own "path" (printf "%s.volumes.%s" $.path $volume)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $claim, $settings := $component.claims -}}
{{- if and (ne $component.kind "StatefulSet") (not $settings.existingClaim) -}}
{{- $own := dict "kind" "PersistentVolumeClaim" "name" (printf "%s-%s" $name $claim) -}}
{{- $objects = append $objects (set $own "path" (printf "%s.claims.%s" $.path $claim)) -}}
{{- end -}}
{{- end -}}
{{- toJson $objects -}}
{{- end -}}
