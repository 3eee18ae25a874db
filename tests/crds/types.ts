export type {
  IScaledObject as ScaledObject,
  ITriggerAuthentication as TriggerAuthentication,
} from "@kubernetes-models/keda/keda.sh/v1alpha1";
export type { IPodMonitor as PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
