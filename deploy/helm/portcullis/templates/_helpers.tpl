{{/* The release's name; it need not say "portcullis" twice. */}}
{{- define "portcullis.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "portcullis" $name) -}}
{{- $name = printf "%s-portcullis" $name -}}
{{- end -}}
{{- $name = $name | trunc 50 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*[a-z0-9]$" $name) -}}
{{- fail (printf "Kubernetes takes no service called %q: choose a release name that begins with a letter and has no dot" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* The gateway's configuration: what the chart knows, and over it what is in `config`. */}}
{{- define "portcullis.config" -}}
{{- if hasKey .Values.config "listeners" -}}
{{- fail "`config.listeners` is the chart's own: `tlsSecret` adds the listener with TLS, `proxyProtocol.from` names load balancers" -}}
{{- end -}}
{{- if hasKey (.Values.config.management | default dict) "address" -}}
{{- fail "`config.management.address` is the chart's own: the probes and the services ask port 8081" -}}
{{- end -}}
{{- $listeners := list (dict "address" "0.0.0.0:8080") -}}
{{- if .Values.tlsSecret -}}
{{- $pair := dict "certificate" "/etc/portcullis/tls/tls.crt" "key" "/etc/portcullis/tls/tls.key" -}}
{{- $listeners = append $listeners (dict "address" "0.0.0.0:8443" "tls" (dict "certificates" (list $pair))) -}}
{{- end -}}
{{- with .Values.proxyProtocol.from -}}
{{- range $listeners -}}
{{- $_ := set . "proxy_protocol" (dict "from" $.Values.proxyProtocol.from) -}}
{{- end -}}
{{- end -}}
{{- /* as the service is called from its own namespace, and from others */ -}}
{{- $host := printf "%s-management" (include "portcullis.name" .) -}}
{{- $other := printf "%s.%s" $host .Release.Namespace -}}
{{- $hosts := concat (list $host $other (printf "%s.svc" $other)) .Values.managementHosts -}}
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

{{/* How management is asked: `config.management.tls` makes it HTTPS. */}}
{{- define "portcullis.managementScheme" -}}
{{- if (.Values.config.management | default dict).tls }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* What both containers have. */}}
{{- define "portcullis.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- /* the init container's too: a ResourceQuota refuses a pod with a container that names none */}}
resources: {{- toYaml .Values.resources | nindent 2 }}
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
