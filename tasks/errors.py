"""Every error we raise on purpose, by who must act."""


class JobError(Exception):
    """A job ended badly. `code` is for programs, the message for people, `hint` says what to do."""

    code = "error"
    status = 500
    lasting = False
    """Whether the same request would meet it again: then it is remembered for a while."""

    def __init__(
        self, message: str, *, code: str = "", status: int = 0, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.hint = hint

    def __reduce__(self) -> tuple[type["JobError"], tuple[str], dict[str, object]]:
        # Exceptions cross process borders (Celery's pool); keyword arguments travel as state.
        return (type(self), (str(self),), self.__dict__)


class BadInput(JobError):
    """The user's image or parameters are wrong. Shown to the user; never retried."""

    code = "bad_input"
    status = 422
    lasting = True


class WrongBytes(BadInput):
    """The upload is gone, or is not what was declared: handing it in again helps."""

    lasting = False


class Unavailable(JobError):
    """Something outside us did not answer. Retry after `retry_after_s` seconds."""

    code = "unavailable"
    status = 503
    retry_after_s = 5


class ModelFailure(JobError):
    """The model broke. Logged with its traceback; never retried."""

    code = "model_failure"
    status = 500


class Expired(Exception):
    """The deadline of an array came before its batch. Only between device and stage: not shown."""


def storage_away() -> Unavailable:
    """What people hear of a StorageDown, which itself names addresses and keys: log that one."""
    return Unavailable("the storage does not answer", hint="Try again in a few seconds.")
