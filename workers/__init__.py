"""A worker process: how it starts, is pinned to a GPU, announces itself and stops."""
