{{/* The release's name; it need not say "portcullis" twice. */}}
{{- define "portcullis.name" -}}
{{- if contains "portcullis" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-portcullis" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The gateway's configuration: what the chart knows, and over it what is in `config`. */}}
{{- define "portcullis.config" -}}
{{- $listeners := list (dict "address" "0.0.0.0:8080") -}}
{{- if .Values.tlsSecret -}}
{{- $pair := dict "certificate" "/etc/portcullis/tls/tls.crt" "key" "/etc/portcullis/tls/tls.key" -}}
{{- $listeners = append $listeners (dict "address" "0.0.0.0:8443" "tls" (dict "certificates" (list $pair))) -}}
{{- end -}}
{{- $hosts := concat (list (printf "%s-management" (include "portcullis.name" .))) .Values.managementHosts -}}
{{- $management := dict "address" "0.0.0.0:8081" "hosts" $hosts -}}
{{- if .Values.metrics -}}
{{- $_ := set $management "metrics" (dict "token_file" "/etc/portcullis/secrets/metrics-token") -}}
{{- end -}}
{{- $store := dict "sqlite" "/var/lib/portcullis/portcullis.db" -}}
{{- if .Values.postgres -}}
{{- $store = dict "postgres" (dict "url" "${DATABASE_URL}" "replica" "/var/lib/portcullis/replica.db") -}}
{{- end -}}
{{- $own := dict "listeners" $listeners "management" $management "store" $store "pepper_file" "/etc/portcullis/secrets/pepper" -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) -}}
{{- end -}}

{{/* What both containers have. */}}
{{- define "portcullis.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if .Values.postgres }}
env:
  - name: DATABASE_URL
    valueFrom:
      secretKeyRef: { name: {{ .Values.secret | quote }}, key: database-url }
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: config, mountPath: /etc/portcullis/portcullis.yaml, subPath: portcullis.yaml, readOnly: true }
  - { name: secrets, mountPath: /etc/portcullis/secrets, readOnly: true }
  {{- if .Values.tlsSecret }}
  - { name: tls, mountPath: /etc/portcullis/tls, readOnly: true }
  {{- end }}
  - { name: data, mountPath: /var/lib/portcullis }
{{- end -}}
