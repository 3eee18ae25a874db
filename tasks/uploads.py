"""Reads uploads of the user whose run it is."""

from time import sleep

from storage import object_keys
from storage.jobs.spec import Spec
from storage.s3.objects import SHOWN_S
from tasks.clients import objects
from tasks.errors import WrongBytes


def read(spec: Spec) -> bytes:
    """The bytes of the run's photo. Raises WrongBytes if they are gone or have changed."""
    try:
        return _get(object_keys.upload_object(spec.user, spec.upload), spec.etag)
    except FileNotFoundError as error:
        raise WrongBytes(
            "the uploaded file is gone, or was changed after the job was submitted",
            code="upload_gone",
            hint="Upload it again.",
        ) from error


def read_other(spec: Spec, upload: str) -> bytes:
    """The bytes of another upload of the same user. Raises WrongBytes if they are gone."""
    try:
        return _get(object_keys.upload_object(spec.user, upload))
    except FileNotFoundError as error:
        raise WrongBytes(
            f"the upload {upload} is gone", code="upload_gone", hint="Upload it again."
        ) from error


def _get(key: str, etag: str = "") -> bytes:
    """The bytes; what seems to be missing is looked for twice, as its run would end with that."""
    try:
        return objects().get(key, etag)
    except FileNotFoundError:
        sleep(SHOWN_S)
        return objects().get(key, etag)
