"""The errors that storage raises besides FileNotFoundError."""


class StorageDown(Exception):
    """Redis or S3 did not answer, or refused to. The message names which."""


class OldLayout(StorageDown):
    """The records in the state Redis have the layout of an earlier Pixelmill."""

    def __init__(self) -> None:
        super().__init__(
            "the state Redis holds records of an earlier version of Pixelmill, which this version "
            "cannot read or convert. Empty it (redis-cli FLUSHDB) and run `pixelmill init` for a "
            "new account, or go on with the version that wrote them"
        )


def refusal(name: str, error: Exception, script: str = "") -> str:
    """What a Redis' error means for who runs it. `script`: the one whose code raised it."""
    text = str(error) or type(error).__name__
    if text.startswith("MISCONF"):
        return f"{name} takes no writes, as its disk is full or broken: {text}"
    if text.startswith("OOM"):
        return f"{name} takes no writes, as its memory (maxmemory) is full"
    if script:
        return f"{name} could not run {script}.lua: {text}"
    return f"{name} did not answer: {text}"
