"""Client connections: their limits, and the memory that their bodies take."""
