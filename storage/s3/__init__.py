"""Objects in S3, or in a folder for tests and benches."""
