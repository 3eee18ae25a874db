"""Redis: commands as values, the connection that all requests of a process share."""
