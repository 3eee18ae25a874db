"""Client connections: their limits and timeouts, and the memory that request bodies may take."""
