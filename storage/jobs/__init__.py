"""Jobs and their runs in Redis: what was asked for, what is being computed, what came of it."""
