"""State outside the process: S3 objects, Redis records, the catalogue, scratch arrays."""
