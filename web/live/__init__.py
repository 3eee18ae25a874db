"""What changes, as it changes: from Redis pub/sub to server-sent events."""
