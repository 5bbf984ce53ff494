{{- define "kubernaut.labels" -}}
app.kubernetes.io/part-of: kubernaut
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "kubernaut.operatorSelector" -}}
app.kubernetes.io/name: kubernaut-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "kubernaut.analystSelector" -}}
app.kubernetes.io/name: kubernaut-analyst
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "kubernaut.postgresSelector" -}}
app.kubernetes.io/name: kubernaut-postgres
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* An image by repository and digest, else tag: (dict "root" $ "image" .Values.operator.image) */}}
{{- define "kubernaut.image" -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* A time such as 90m, 1h or 2d in seconds. */}}
{{- define "kubernaut.seconds" -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get (dict "m" 60 "h" 3600 "d" 86400) (regexFind "[mhd]$" .)) -}}
{{- end }}

{{- /* A setting as text. Numbers of a file of values have a point, and a large one would be written as 1e+06. */}}
{{- define "kubernaut.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- define "kubernaut.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "kubernaut.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Where a pod of ours may be placed, of the values of one of them. */}}
{{- define "kubernaut.placing" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "kubernaut.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What the operator and the analyst are told alike. */}}
{{- define "kubernaut.env" -}}
- name: KUBERNAUT_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with (include "kubernaut.dsnSecret" . | fromYaml) }}
- name: KUBERNAUT_DSN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}

{{- /*
Has pods start anew with another password of the embedded Postgres, for they read it at their start. 16 bits of a
digest tell nearly all passwords apart, and are no help in finding one.
*/}}
{{- define "kubernaut.passwordChange" -}}
kubernaut.io/password-digest: {{ .Values.postgres.embedded.password | sha256sum | trunc 4 | quote }}
{{- end }}

{{- /* What the names of runbooks end with; values of a release before this one say nothing of it. */}}
{{- define "kubernaut.runbookSuffix" -}}
{{- with .Values.metrics.prometheusRule }}{{ hasKey . "runbookSuffix" | ternary .runbookSuffix ".md" }}{{ end }}
{{- end }}

{{- /* What becomes of the claims of a StatefulSet: they stay with the runs, and go with them. */}}
{{- define "kubernaut.claimRetention" -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ ternary "Retain" "Delete" .Values.crds.keep }}
  whenScaled: Retain
{{- end }}

{{- /* The Secret with the DSN, and its key; empty where there is no history. */}}
{{- define "kubernaut.dsnSecret" -}}
{{- if eq .Values.postgres.mode "external" -}}
name: {{ .Values.postgres.external.existingSecret }}
key: {{ .Values.postgres.external.key }}
{{- else if eq .Values.postgres.mode "cloudnativepg" -}}
name: kubernaut-postgres-app
key: uri
{{- else if eq .Values.postgres.mode "embedded" -}}
name: kubernaut-postgres
key: dsn
{{- end }}
{{- end }}

{{- /* Families of one tenant, as JSON; none is not the same as nothing said. */}}
{{- define "kubernaut.familiesOf" -}}
{{- ternary .families (list "common" "workloads" "diagnosis") (hasKey . "families") | toJson -}}
{{- end }}

{{- /* Families of actions that some tenant uses, as JSON. */}}
{{- define "kubernaut.families" -}}
{{- $found := list -}}
{{- range .Values.tenants }}{{ $found = concat $found (include "kubernaut.familiesOf" . | fromJsonArray) }}{{ end -}}
{{- $found | uniq | sortAlpha | toJson -}}
{{- end }}

{{- /* Secrets of notifications by the name of their volume, as JSON. */}}
{{- define "kubernaut.notifying" -}}
{{- $found := dict -}}
{{- with .Values.notifications -}}
{{- with .webhook.existingSecret }}{{ $_ := set $found "notify-webhook" . }}{{ end -}}
{{- with .slack.existingSecret }}{{ $_ := set $found "notify-slack" . }}{{ end -}}
{{- if and .email.server .email.username }}{{ $_ := set $found "notify-email" .email.existingSecret }}{{ end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end }}

{{- /* The port of a URL. */}}
{{- define "kubernaut.portOf" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{- define "kubernaut.deleteHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- /* Names, and the API server. */}}
{{- define "kubernaut.egressToApiServer" }}
{{- $policy := .Values.networkPolicy }}
- to:
    {{- toYaml $policy.dnsTo | nindent 4 }}
  ports:
    {{- range ($policy.dnsPorts | default (list 53)) }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
- ports:
    {{- range $policy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $policy.apiServerCIDRs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* What operator and analyst both may reach. */}}
{{- define "kubernaut.egress" }}
{{- $policy := .Values.networkPolicy }}
{{- include "kubernaut.egressToApiServer" . | trim | nindent 0 }}
{{- if eq .Values.postgres.mode "embedded" }}
- to:
    - podSelector:
        matchLabels:
          {{- include "kubernaut.postgresSelector" . | nindent 10 }}
  ports:
    - {port: 5432, protocol: TCP}
{{- else if eq .Values.postgres.mode "cloudnativepg" }}
- to:
    - podSelector:
        matchLabels:
          cnpg.io/cluster: kubernaut-postgres
  ports:
    - {port: 5432, protocol: TCP}
{{- else if eq .Values.postgres.mode "external" }}
- ports:
    - {port: {{ .Values.postgres.external.port }}, protocol: TCP}
  {{- with $policy.postgresTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
