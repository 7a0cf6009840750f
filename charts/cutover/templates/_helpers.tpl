{{/* Names are fixed: there is one installation in a cluster, and docs, roles of teams and messages refer to it. */}}
{{- define "cutover.labels" -}}
app.kubernetes.io/name: cutover-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cutover.image" -}}
{{- with .Values.image -}}
{{- $missing := "image.repository: there is no image to pull by default. Build it (make image), push it to your registry, and say where: --set image.repository=registry.example.com/team/cutover (docs/install.md, The image)" -}}
{{- $_ := required $missing .repository -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Flags of `cutover run`. */}}
{{- define "cutover.args" -}}
- run
- --log-format={{ .Values.log.format }}
{{- range .Values.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- if include "cutover.config" . }}
- --config=/etc/cutover/config/config.yaml
{{- end }}
{{- range .Values.requests.allowPrivate }}
- --allow-private={{ . }}
{{- end }}
{{- if .Values.requests.forbidPublic }}
- --forbid-public
{{- end }}
{{- with .Values.requests.dns }}
- --dns={{ . }}
{{- end }}
{{- with .Values.decisions.keep }}
- --keep-decisions={{ . }}
{{- end }}
{{- with .Values.traces.endpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- end }}

{{/* The operator's configuration; empty where nothing is configured. */}}
{{- define "cutover.config" -}}
{{- with .Values.prometheus }}
{{- $names := list }}
{{- range .sources }}{{ $names = append $names .name }}{{ end }}
{{- if and .default (not (has .default $names)) }}{{ fail (printf "prometheus.default: %s is not the name of one of prometheus.sources" .default) }}{{ end }}
{{- if .sources -}}
prometheus:
  {{- with .default }}
  default: {{ . | quote }}
  {{- end }}
  sources: {{- toYaml .sources | nindent 2 }}
{{ end }}
{{- end }}
{{- with .Values.notifications }}
{{- if or .proxy .receivers -}}
notifications:
  {{- with .proxy }}
  proxy: {{ . | quote }}
  {{- end }}
  {{- with .noProxy }}
  noProxy: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .receivers }}
  receivers: {{- toYaml . | nindent 2 }}
  {{- end }}
{{ end }}
{{- end }}
{{- with .Values.pushes.senders }}
pushes:
  listen: 0.0.0.0:8081
  senders: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The Services that are sources: a list of names for each namespace, as JSON. */}}
{{- define "cutover.sources" -}}
{{- $all := dict }}
{{- range .Values.prometheus.sources }}
{{- if not .url }}
{{- $of := .service | default dict }}
{{- $namespace := $of.namespace | default (splitList "/" .name | first) }}
{{- $name := $of.name | default (splitList "/" .name | last) }}
{{- $_ := set $all $namespace (append (get $all $namespace | default list) $name | uniq) }}
{{- end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* Alert rules: the groups of deploy/monitoring, copied to files/. */}}
{{- define "cutover.alerts" -}}
{{- $rules := .Files.Get "files/alerts.yaml" }}
{{- if not $rules }}{{ fail "this copy of the chart has no files/alerts.yaml: set monitoring.prometheusRule.enabled to false" }}{{ end }}
{{- $rules -}}
{{- end }}
