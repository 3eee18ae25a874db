"""The system page: what workers, queues, limits and users do now, for admins."""
