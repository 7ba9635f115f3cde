{{/* The name of all that the chart makes. */}}
{{- define "mcp-system.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default "mcp-system" -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mcp-system.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "mcp-system.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* They never change, whatever the values say: a Deployment's selector cannot. */}}
{{- define "mcp-system.selector" -}}
app.kubernetes.io/name: mcp-system-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mcp-system.labels" -}}
{{ include "mcp-system.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: mcp-system
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mcp-system.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What the operator may do where McpSystems live; each rule with its reason. */}}
{{- define "mcp-system.rules" -}}
# The systems themselves, and what is said of them.
- apiGroups: ["mcpsystem.io"]
  resources: ["mcpsystems"]
  verbs: ["list", "watch"]
- apiGroups: ["mcpsystem.io"]
  resources: ["mcpsystems/status"]
  verbs: ["patch"]
# Owner references with blockOwnerDeletion need this where that admission check is on.
- apiGroups: ["mcpsystem.io"]
  resources: ["mcpsystems/finalizers"]
  verbs: ["update"]
# The objects that it makes; `delete` for servers that were disabled.
- apiGroups: ["apps"]
  resources: ["deployments"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
- apiGroups: ["autoscaling"]
  resources: ["horizontalpodautoscalers"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
- apiGroups: [""]
  resources: ["services", "configmaps", "serviceaccounts"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# The keys of each system are made and never read: what stands in a Secret reaches pods alone.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["create"]
# Volume claims are made and grown; deleting is left to their owner references.
- apiGroups: [""]
  resources: ["persistentvolumeclaims"]
  verbs: ["get", "list", "watch", "create", "patch"]
- apiGroups: ["monitoring.coreos.com"]
  resources: ["servicemonitors"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# Why a server does not start stands in its pods.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["list", "watch"]
# What a person should know.
- apiGroups: ["events.k8s.io"]
  resources: ["events"]
  verbs: ["create"]
{{- end -}}
