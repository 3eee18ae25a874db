"""A file of weights from a URL, or from a model hub: resumed where it was interrupted, and checked.

The bytes go to a file whose name ends in `.part`. It stays when a download is interrupted, even by
the end of the process, and the next attempt continues behind its last byte. The SHA-256 of the
whole file decides, so a file that has changed on the server in between is not taken.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import structlog

from tasks.errors import Unavailable
from tasks.models.base import Weight, check_sha256, shown_address
from tasks.models.wheels import Progress

PAUSES_S = (1.0, 2.0, 4.0)
"""Pauses between attempts that have brought nothing new."""
TIMEOUT_S = 30.0
"""Longest time without a byte from the server."""
RESUMED, WHOLE, COMPLETE = 206, 200, 416
"""Answers to a request for the rest of a file: the rest, all of it, or that there is no more."""

log = structlog.get_logger()


class Address(NamedTuple):
    """Where a file is, and what to say to be given it."""

    url: str
    headers: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The address for logs and messages."""
        return shown_address(self.url)


def read(weight: Weight, part: Path, report: Progress) -> bytes:
    """The bytes of the weight's file, which passes through `part`.

    Raises Unavailable when the server cannot be reached or refuses, ModelFailure when the file is
    not the one that the model names.
    """
    address = _address(weight)
    _check_room(weight, part)
    is_continued = part.exists()
    data = _fetched(weight, address, part, report)
    if is_continued and _sha256(data) != weight.sha256:
        log.warning("continued download is wrong; downloaded again", url=address.shown)
        data = _fetched(weight, address, part, report)
    check_sha256(weight, data, f"at {address.shown}", "The server has")
    return data


def _fetched(weight: Weight, address: Address, part: Path, report: Progress) -> bytes:
    """The whole file; attempts that bring nothing new are limited."""
    failures = 0
    while True:
        size = _size(part)
        try:
            _download(weight, address, part, report)
            break
        except httpx.TransportError as error:
            failures = 0 if _size(part) > size else failures + 1
            if failures > len(PAUSES_S):
                raise _unavailable(address, str(error) or type(error).__name__) from error
            log.warning("download interrupted", url=address.shown, reason=str(error))
            time.sleep(PAUSES_S[max(0, failures - 1)])
    data = part.read_bytes()
    part.unlink()
    return data


def _address(weight: Weight) -> Address:
    if weight.url:
        return Address(weight.url, {})
    # Imported here, since few need it. It knows the hub's address (HF_ENDPOINT) and the token of
    # whoever is signed in (HF_TOKEN), which private models need.
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # lazily

    url = hf_hub_url(weight.hub, weight.member, revision=weight.version)
    return Address(url, build_hf_headers())


def _check_room(weight: Weight, part: Path) -> None:
    # The download and the converted file; the former is in memory as well by then.
    needed, free = 2 * weight.bytes, shutil.disk_usage(part.parent).free
    if free < needed:
        raise Unavailable(
            f"{part.parent} has {free >> 20} MiB free; {weight.member} needs {needed >> 20} MiB",
            hint="Free some space or set PIXELMILL_WEIGHTS_DIR to another disk.",
        )


def _download(weight: Weight, address: Address, part: Path, report: Progress) -> None:
    """Append what is missing to `part`."""
    done = _size(part)
    with _answer(address, done) as answer:
        if answer.status_code == COMPLETE:
            return
        if answer.status_code not in (WHOLE, RESUMED):
            raise _refused(address, answer.status_code)
        done = done if answer.status_code == RESUMED else 0
        total = weight.bytes or done + int(answer.headers.get("content-length", 0))
        with part.open("ab" if done else "wb") as file:
            for chunk in answer.iter_raw():  # as they come, so that none is lost
                file.write(chunk)
                done += len(chunk)
                if weight.bytes and done > weight.bytes:
                    break  # more than the model says: its SHA-256 will be another one
                report(weight.member, min(done, total), total)


@contextmanager
def _answer(address: Address, done: int) -> Iterator[httpx.Response]:
    # Compressed answers have no byte positions to continue from.
    headers = {**address.headers, "accept-encoding": "identity"}
    if done:
        headers["range"] = f"bytes={done}-"
    with httpx.stream(
        "GET", address.url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
    ) as answer:
        yield answer


def _refused(address: Address, status: int) -> Unavailable:
    if status in (401, 403):
        return _unavailable(address, f"status {status}; is a token needed (HF_TOKEN)?")
    return _unavailable(address, f"status {status}")


def _unavailable(address: Address, reason: str) -> Unavailable:
    return Unavailable(
        f"the weights at {address.shown} could not be downloaded: {reason}",
        hint="Check the network and the address, or copy the weights folder of a machine that has "
        "them; workers also read them from S3.",
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
