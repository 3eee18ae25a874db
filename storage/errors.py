"""The one error that storage raises besides FileNotFoundError."""


class StorageDown(Exception):
    """Redis or S3 did not answer, or refused to. The message names which."""
