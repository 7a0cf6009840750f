{{/* Names are fixed: there is one installation in a cluster, and docs, roles of teams and messages refer to it. */}}
{{- define "cutover.labels" -}}
app.kubernetes.io/name: cutover-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cutover.image" -}}
{{- with .Values.image -}}
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
{{- with .Values.prometheus }}
- --prometheus={{ . }}
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
{{- with .Values.traces.endpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- end }}

{{/* Alert rules: the groups of deploy/monitoring, copied to files/. */}}
{{- define "cutover.alerts" -}}
{{- $rules := .Files.Get "files/alerts.yaml" }}
{{- if not $rules }}{{ fail "this copy of the chart has no files/alerts.yaml: set monitoring.prometheusRule.enabled to false" }}{{ end }}
{{- $rules -}}
{{- end }}
