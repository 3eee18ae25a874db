"""What only a GPU worker runs: batches, devices, warm-up, what is done when memory is full."""
