"""Background work of the web process."""
