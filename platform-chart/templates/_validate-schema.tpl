{{/*
The values compared with schema.json, as JSON Schema says. Helm would enforce values.schema.json
before any template, and print regular expressions; decision 39 says why it does not.
*/}}

{{/*
Adds the mistakes of a value to report.mistakes and their paths to report.unsound, and to
report.broken if the type is wrong. An unknown key is removed from the value; one of the wrong type
is replaced, since the checks rely on types. (dict value schema path report; report has defs, types)
*/}}
{{- define "platform.schema.compare" -}}
{{- $schema := .schema -}}
{{- with get $schema "$ref" -}}
{{- $schema = get $.report.defs (trimPrefix "#/$defs/" .) -}}
{{- end -}}
{{- range $schema.allOf -}}
{{- include "platform.schema.compare" (set (omit $ "schema") "schema" .) -}}
{{- end -}}
{{- $type := get .report.types (kindOf .value) -}}
{{- if eq $type "number" -}}
{{- $type = ternary "integer" "number" (eq .value (floor .value)) -}}
{{- end -}}
{{- $types := $schema.type | default (ternary "string" list (hasKey $schema "enum")) -}}
{{- $types = ternary (list $types) $types (kindIs "string" $types) -}}
{{- $number := and (eq $type "integer") (has "number" $types) -}}
{{- $part := set . "schema" $schema -}}
{{- if not (or (empty $types) (has $type $types) $number) -}}
{{- include "platform.schema.wrongType" (dict "node" $part "type" $type "types" $types) -}}
{{- else if eq $type "object" -}}
{{- include "platform.schema.object" $part -}}
{{- else if eq $type "array" -}}
{{- include "platform.schema.array" $part -}}
{{- else if ne $type "null" -}}
{{- include "platform.schema.scalar" $part -}}
{{- end -}}
{{- end -}}

{{/* Adds a mistake, and its path to another list, by default unsound. (dict node text path in) */}}
{{- define "platform.schema.mistake" -}}
{{- $report := .node.report -}}
{{- $path := .path | default .node.path -}}
{{- $_ := set $report "mistakes" (append $report.mistakes (printf "%s: %s" $path .text)) -}}
{{- $list := .in | default "unsound" -}}
{{- $_ := set $report $list (append (get $report $list) $path) -}}
{{- end -}}

{{/* (dict node type types) */}}
{{- define "platform.schema.wrongType" -}}
{{- $names := dict "string" "text" "integer" "a whole number" "number" "a number" -}}
{{- $_ := merge $names (dict "boolean" "true or false" "object" "a map" "array" "a list") -}}
{{- $wanted := list -}}
{{- range without .types "null" -}}
{{- $wanted = append $wanted (get $names .) -}}
{{- end -}}
{{- $wanted = join " or " $wanted -}}
{{- $shown := toJson .node.value -}}
{{- $text := printf "it is %s, and %s is needed" (get $names .type) $wanted -}}
{{- if eq .type "null" -}}
{{- $text = printf "null takes nothing away here, since %s is needed; remove it" $wanted -}}
{{- else if and (has .type (list "integer" "number" "boolean")) (eq $wanted "text") -}}
{{- $actual := get (merge (dict "boolean" "a boolean") $names) .type -}}
{{- $text = printf "%s is %s, not text; quote it, or use --set-string" $shown $actual -}}
{{- else if eq .type "string" -}}
{{- $text = printf "%s is text, and %s is needed" $shown $wanted -}}
{{- if regexMatch "^\"([0-9.]+|true|false)\"$" $shown -}}
{{- $text = printf "%s; remove the quotes" $text -}}
{{- end -}}
{{- else if has .type (list "integer" "number" "boolean") -}}
{{- $text = printf "%s is %s, and %s is needed" $shown (get $names .type) $wanted -}}
{{- end -}}
{{- include "platform.schema.mistake" (dict "node" .node "text" $text "in" "broken") -}}
{{- end -}}

{{/* A text, a number, or true or false. (dict value schema path report) */}}
{{- define "platform.schema.scalar" -}}
{{- $schema := .schema -}}
{{- $value := .value -}}
{{- $shown := ternary $value (toJson $value) (kindIs "string" $value) -}}
{{- $text := "" -}}
{{- if and $schema.enum (not (has $value $schema.enum)) -}}
{{- $known := list -}}
{{- range $schema.enum -}}
{{- $known = append $known (ternary . (toJson .) (kindIs "string" .)) -}}
{{- end -}}
{{- $text = printf "%s is none of %s" $shown (join ", " (compact $known)) -}}
{{- else if has $value (dig "not" "enum" list $schema) -}}
{{- $text = printf "%s is reserved; use another one" $shown -}}
{{- else if kindIs "string" $value -}}
{{- $long := and $schema.maxLength (gt (len $value) (int $schema.maxLength)) -}}
{{- if or $long (not (regexMatch ($schema.pattern | default "") $value)) -}}
{{- $text = printf "%q is not %s" $value $schema.title -}}
{{- end -}}
{{- else if kindIs "float64" $value -}}
{{- if and (hasKey $schema "minimum") (lt $value $schema.minimum) -}}
{{- $text = printf "%s is less than %s" $shown (toJson $schema.minimum) -}}
{{- with $schema.title -}}
{{- $text = printf "%s; write %s" $text . -}}
{{- end -}}
{{- else if and (hasKey $schema "maximum") (gt $value $schema.maximum) -}}
{{- $text = printf "%s is more than %s" $shown (toJson $schema.maximum) -}}
{{- end -}}
{{- end -}}
{{- if $text -}}
{{- include "platform.schema.mistake" (dict "node" . "text" $text) -}}
{{- end -}}
{{- end -}}

{{/* (dict value schema path report) */}}
{{- define "platform.schema.array" -}}
{{- $items := .schema.items -}}
{{- $seen := list -}}
{{- range $index, $value := .value -}}
{{- if and $.schema.uniqueItems (has $value $seen) -}}
{{- $text := printf "%v is in the list twice; remove one" $value -}}
{{- include "platform.schema.mistake" (dict "node" $ "text" $text) -}}
{{- end -}}
{{- $seen = append $seen $value -}}
{{- if $items -}}
{{- $path := printf "%s[%d]" $.path $index -}}
{{- $node := dict "value" $value "schema" $items "path" $path "report" $.report -}}
{{- include "platform.schema.compare" $node -}}
{{- end -}}
{{- end -}}
{{- if lt (len .value) (int (.schema.minItems | default 0)) -}}
{{- include "platform.schema.mistake" (dict "node" . "text" "the list is empty") -}}
{{- end -}}
{{- end -}}

{{/* (dict value schema path report) */}}
{{- define "platform.schema.object" -}}
{{- $schema := .schema -}}
{{- $prefix := ternary (printf "%s." .path) "" (ne .path "") -}}
{{- $known := $schema.properties | default dict -}}
{{- $others := $schema.additionalProperties -}}
{{- $unknown := list -}}
{{- range $key, $value := .value -}}
{{- $child := dict "value" $value "path" (print $prefix $key) "report" $.report -}}
{{- $_ := set (set $child "map" $.value) "key" $key -}}
{{- $named := len $.report.mistakes -}}
{{- with $schema.propertyNames -}}
{{- $name := dict "value" $key "schema" . "path" $child.path "report" $.report -}}
{{- include "platform.schema.compare" $name -}}
{{- end -}}
{{- $matched := list -}}
{{- range $pattern, $each := $schema.patternProperties -}}
{{- if regexMatch $pattern $key -}}
{{- $matched = append $matched $each -}}
{{- end -}}
{{- end -}}
{{- if ne $named (len $.report.mistakes) -}}
{{- $unknown = append $unknown $key -}}
{{- else if or (hasKey $known $key) $matched (kindIs "map" $others) -}}
{{- $other := ternary (first $matched) $others (not (empty $matched)) -}}
{{- $_ := set $child "schema" (get $known $key | default $other) -}}
{{- include "platform.schema.member" $child -}}
{{- else if kindIs "bool" $others -}}
{{- $nearest := include "platform.schema.nearest" (set (omit $ "value") "key" $key) -}}
{{- $text := printf "there is no such key%s" $nearest -}}
{{- include "platform.schema.mistake" (dict "node" $child "text" $text "in" "unknown") -}}
{{- $unknown = append $unknown $key -}}
{{- end -}}
{{- end -}}
{{- range $unknown -}}
{{- $_ := unset $.value . -}}
{{- end -}}
{{- range $schema.required -}}
{{- if kindIs "invalid" (index $.value .) -}}
{{- $mistake := dict "node" $ "path" (print $prefix .) "in" "broken" -}}
{{- $default := not (hasPrefix "components." $.path) -}}
{{- $removed := "null removed it, or --reuse-values has those of an older chart" -}}
{{- $removed = printf "%s: use --reset-then-reuse-values" $removed -}}
{{- $hint := ternary $removed "set it" $default -}}
{{- $_ := set $mistake "text" (printf "it is missing; %s" $hint) -}}
{{- include "platform.schema.mistake" $mistake -}}
{{- $property := include "platform.schema.property" (set (omit $ "value") "key" .) | fromJson -}}
{{- $missing := dict "map" $.value "key" . "schema" $property "report" $.report -}}
{{- include "platform.schema.replace" $missing -}}
{{- end -}}
{{- end -}}
{{- $count := len .value -}}
{{- if lt $count (int ($schema.minProperties | default 0)) -}}
{{- include "platform.schema.mistake" (dict "node" . "text" "the map is empty") -}}
{{- else if gt $count (int ($schema.maxProperties | default $count)) -}}
{{- $text := printf "it has %s; keep one" (keys .value | sortAlpha | join " and ") -}}
{{- include "platform.schema.mistake" (dict "node" . "text" $text) -}}
{{- end -}}
{{- end -}}

{{/*
Compares the value of a key, and replaces it if it, or an entry of its list, has the wrong type.
(dict map key value schema path report)
*/}}
{{- define "platform.schema.member" -}}
{{- $before := len .report.broken -}}
{{- include "platform.schema.compare" . -}}
{{- if gt (len .report.broken) $before -}}
{{- $own := printf "^%s(\\[[0-9]+\\])*$" (regexQuoteMeta .path) -}}
{{- range slice .report.broken $before -}}
{{- if regexMatch $own . -}}
{{- include "platform.schema.replace" $ -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Sets a key to the least value that fits the schema. (dict map key schema report) */}}
{{- define "platform.schema.replace" -}}
{{- $types := printf "%v" .schema.type -}}
{{- $least := "" -}}
{{- if .schema.enum -}}
{{- $least = first .schema.enum -}}
{{- else if or .schema.allOf (contains "object" $types) -}}
{{- $least = dict -}}
{{- else if contains "array" $types -}}
{{- $least = list -}}
{{- else if contains "boolean" $types -}}
{{- $least = false -}}
{{- else if or (contains "integer" $types) (contains "number" $types) -}}
{{- $least = .schema.minimum | default 0.0 -}}
{{- end -}}
{{- $_ := set .map .key $least -}}
{{- range .schema.required -}}
{{- $property := include "platform.schema.property" (set (omit $ "map") "key" .) | fromJson -}}
{{- $child := dict "map" $least "key" . "schema" $property "report" $.report -}}
{{- include "platform.schema.replace" $child -}}
{{- end -}}
{{- end -}}

{{/* The schema of a property, as JSON. (dict schema key report) */}}
{{- define "platform.schema.property" -}}
{{- $property := get (.schema.properties | default dict) .key | default dict -}}
{{- range .schema.allOf -}}
{{- $other := get $.report.defs (trimPrefix "#/$defs/" (get . "$ref")) -}}
{{- $property = $property | default (get $other.properties $.key) -}}
{{- end -}}
{{- with get $property "$ref" -}}
{{- $property = get $.report.defs (trimPrefix "#/$defs/" .) -}}
{{- end -}}
{{- toJson $property -}}
{{- end -}}

{{/* What to write instead of an unknown key: ; did you mean …? (dict key schema path report) */}}
{{- define "platform.schema.nearest" -}}
{{- $own := keys .schema.properties | sortAlpha -}}
{{- $best := "" -}}
{{- $most := 39 -}}
{{- range $name := $own -}}
{{- $likeness := include "platform.likeness" (dict "one" $.key "other" $name) | int -}}
{{- if gt $likeness $most -}}
{{- $best = $name -}}
{{- $most = $likeness -}}
{{- end -}}
{{- end -}}
{{- $elsewhere := list -}}
{{- with include "platform.schema.synonym" .key -}}
{{- if has (splitList "." . | first) $own -}}
{{- $elsewhere = append $elsewhere . -}}
{{- end -}}
{{- end -}}
{{- if and .path (lt $most 70) -}}
{{- range $name := $own -}}
{{- $property := include "platform.schema.property" (set (omit $) "key" $name) | fromJson -}}
{{- if hasKey ($property.properties | default dict) $.key -}}
{{- $elsewhere = append $elsewhere (printf "%s.%s" $name $.key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not .path -}}
{{- if hasKey .report.defs.component.properties .key -}}
{{- $elsewhere = append $elsewhere (printf "components.NAME.%s" .key) -}}
{{- else if has .key (list "api-rest" "async-worker") -}}
{{- $elsewhere = append $elsewhere (printf "components.%s" .key) -}}
{{- end -}}
{{- end -}}
{{- if $elsewhere -}}
; did you mean {{ join " or " $elsewhere }}?
{{- else if $best -}}
; did you mean {{ $best }}?
{{- else if le (len $own) 8 -}}
; known are {{ join ", " $own }}
{{- else -}}
; README.md lists those that exist
{{- end -}}
{{- end -}}

{{/* What Kubernetes and other charts call something, and its key here. (key) */}}
{{- define "platform.schema.synonym" -}}
{{- $synonyms := dict
  "livenessProbe" "probes.liveness" "readinessProbe" "probes.readiness"
  "startupProbe" "probes.startup" "replicaCount" "replicas" "autoscaling" "scaling"
  "hpa" "scaling" "environment" "env" "envVars" "env" "envFrom" "configFrom or secretsFrom"
  "configMap" "config" "podDisruptionBudget" "disruptionBudget" "pdb" "disruptionBudget"
  "persistence" "claims" "volumeClaimTemplates" "claims" "volumeMounts" "volumes.NAME.mountPath"
  "sidecars" "extraContainers" "containers" "extraContainers" "updateStrategy" "rollout.strategy"
  "terminationGracePeriodSeconds" "shutdown.drain" "labels" "podLabels" "port" "ports"
  "runAsUser" "user" "containerSecurityContext" "securityContext" "storageClassName" "storageClass"
  "path" "mountPath" "postgresql" "externalDatabase" "mysql" "database" "mariadb" "database"
-}}
{{- get $synonyms . -}}
{{- end -}}

{{/*
How alike two words are, in percent: the pairs of letters that both have. Words of the same letters
are alike: kakfa and kafka. (dict one other)
*/}}
{{- define "platform.likeness" -}}
{{- $pairs := list -}}
{{- $sorted := list -}}
{{- range $word := list .one .other -}}
{{- $letters := regexReplaceAll "[^a-z0-9]" (lower $word) "" -}}
{{- $sorted = append $sorted (splitList "" $letters | sortAlpha | join "") -}}
{{- $own := list -}}
{{- range $start := untilStep 0 (sub (len $letters) 1 | int) 1 -}}
{{- $own = append $own (substr $start (add $start 2 | int) $letters) -}}
{{- end -}}
{{- $pairs = append $pairs $own -}}
{{- end -}}
{{- $shared := 0 -}}
{{- range index $pairs 0 -}}
{{- if has . (index $pairs 1) -}}
{{- $shared = add $shared 1 -}}
{{- end -}}
{{- end -}}
{{- $total := add (len (index $pairs 0)) (len (index $pairs 1)) | int -}}
{{- if eq (first $sorted) (last $sorted) -}}
90
{{- else if gt $total 0 -}}
{{- div (mul 200 $shared) $total -}}
{{- else -}}
0
{{- end -}}
{{- end -}}
