{{/* One release per namespace, so objects carry the name of the service and not that of the release. */}}
{{- define "service.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
{{- end }}

{{- define "service.labels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The name of a Service must begin with a letter. */}}
{{- define "service.host" -}}
{{- if regexMatch "^[0-9]" .Chart.Name }}svc-{{ end }}{{ .Chart.Name }}
{{- end }}

{{- define "service.namespaces" -}}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ toJson . }}
{{- end }}
