"""The one error that storage raises besides FileNotFoundError."""


class StorageDown(Exception):
    """Redis or S3 did not answer, or refused to. The message names which."""


def refusal(name: str, error: Exception) -> str:
    """What a Redis' error means for who runs it."""
    text = str(error) or type(error).__name__
    if text.startswith("MISCONF"):
        return f"{name} takes no writes, as its disk is full or broken: {text}"
    if text.startswith("OOM"):
        return f"{name} takes no writes, as its memory (maxmemory) is full"
    return f"{name} did not answer: {text}"
