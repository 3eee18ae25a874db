"""What Prometheus and autoscalers read: the whole installation's numbers, and this process's."""
