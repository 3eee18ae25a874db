"""Jobs as the web process sees them: submitting, reading, cancelling and deleting."""
