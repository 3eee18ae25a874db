{{- define "pixelmill.name" -}}
{{- printf "%s" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "pixelmill.selector" -}}
app.kubernetes.io/name: pixelmill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pixelmill.labels" -}}
{{ include "pixelmill.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "pixelmill.podSecurity" -}}
automountServiceAccountToken: false
shareProcessNamespace: true # else a process that is still starting, being the first, ignores SIGTERM
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{- define "pixelmill.containerSecurity" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "pixelmill.settings" -}}
- {name: PIXELMILL_SECRETS_DIR, value: /run/secrets/pixelmill}
- {name: PIXELMILL_PUBLIC_URL, value: {{ required "publicUrl must be set" .Values.publicUrl | quote }}}
- {name: PIXELMILL_S3_URL, value: {{ required "s3.url must be set" .Values.s3.url | quote }}}
- {name: PIXELMILL_S3_PUBLIC_URL, value: {{ .Values.s3.publicUrl | quote }}}
- {name: PIXELMILL_S3_BUCKET, value: {{ .Values.s3.bucket | quote }}}
- {name: PIXELMILL_S3_REGION, value: {{ .Values.s3.region | quote }}}
- {name: PIXELMILL_STOP_S, value: {{ .Values.stopSeconds | quote }}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "pixelmill.secrets" -}}
- name: secrets
  secret:
    secretName: {{ .root.Values.secretName }}
    items:
      - {key: pixelmill_secret, path: pixelmill_secret}
      - {key: pixelmill_s3_key, path: pixelmill_s3_key}
      - {key: pixelmill_s3_secret, path: pixelmill_s3_secret}
      - {key: cache_url, path: pixelmill_cache_url}
      - {key: scratch_url, path: pixelmill_scratch_url}
      - {key: state_url_{{ .account }}, path: pixelmill_state_url}
- name: tmp
  emptyDir: {}
{{- end -}}

{{- define "pixelmill.mounts" -}}
- {name: secrets, mountPath: /run/secrets/pixelmill, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "pixelmill.workerProbes" -}}
# A worker serves its metrics once it takes messages; one that hangs ends by itself.
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 5
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "pixelmill.scratch" -}}
- name: scratch
  emptyDir: {medium: Memory, sizeLimit: 1Gi}
{{- end -}}

{{- define "pixelmill.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pixelmill.name" .root }}-{{ .component }}
  labels: {{- include "pixelmill.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "pixelmill.selector" . | nindent 6 }}
{{- end -}}

{{- define "pixelmill.scalable" -}}
{{- if lt (int .most) (int .least) -}}
{{- fail (printf "%s: at most %v pods are fewer than at least %v" .component .most .least) -}}
{{- end -}}
{{- end -}}

{{- define "pixelmill.cpuScaler" -}}
{{- include "pixelmill.scalable" (dict "component" .component "least" .of.replicas "most" .of.maxReplicas) -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "pixelmill.name" .root }}-{{ .component }}
  labels: {{- include "pixelmill.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "pixelmill.name" .root }}-{{ .component }}}
  minReplicas: {{ .of.replicas }}
  maxReplicas: {{ .of.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .of.cpuPercent }}}}
{{- end -}}
