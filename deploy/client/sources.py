"""Brings photos from the web and from standard input into files, from which they are sent."""

import hashlib
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import urlsplit

import httpx

from deploy.client.api import Stopped
from deploy.client.photos import STDIN, Photo
from deploy.client.results import Download
from deploy.client.series import write_zip
from deploy.client.server import LOOPBACK
from tasks.errors import BadInput, Unavailable

LARGEST = 256 * 2**20
"""Bytes that are read of an address or of standard input; servers take fewer."""
REDIRECTS = 5
TRIES = 3
CHUNK = 2**20


class Sources:
    """Opens photos, wherever they come from. For several threads."""

    def __init__(self, stopping: threading.Event) -> None:
        """Once `stopping` is set, downloads end with Stopped."""
        self._stopping = stopping
        self._folder = Path(tempfile.mkdtemp(prefix="pixelmill-"))
        self._clients: dict[bool, httpx.Client] = {
            proxied: httpx.Client(
                timeout=httpx.Timeout(60, connect=10),
                trust_env=proxied,
                follow_redirects=True,
                max_redirects=REDIRECTS,
                headers={"User-Agent": "pixelmill", "Accept": "image/*,*/*;q=0.5"},
            )
            for proxied in (True, False)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for client in self._clients.values():
            client.close()
        self.remove_files()

    def remove_files(self) -> None:
        """Remove what was downloaded, as at the end of the process."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def file(self, photo: Photo) -> Iterator[Path]:
        """A file with the photo's bytes while the block runs.

        Raises BadInput for an empty file and an address without a photo, Unavailable if it does not
        answer.
        """
        if photo.series:
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".zip") as zipped:
                write_zip(photo.series, zipped)
                zipped.flush()
                yield Path(zipped.name)
            return
        if photo.file:
            if not photo.file.stat().st_size:
                raise BadInput("it is empty")
            yield photo.file
            return
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        file = Path(name)
        try:
            with open(descriptor, "wb") as out:
                if photo.name == STDIN:
                    self._copy(iter(lambda: sys.stdin.buffer.read(CHUNK), b""), out)
                else:
                    self._download(photo.name, out)
            yield file
        finally:
            file.unlink(missing_ok=True)

    def pass_on(self, url: str, download: Download, out: BinaryIO) -> int:
        """Write a picture of a result to `out`, whole or not at all; returns its size in bytes."""
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            size = download(url, Path(file.name))
            with open(file.name, "rb") as picture:
                shutil.copyfileobj(picture, out, CHUNK)
        out.flush()
        return size

    def _download(self, url: str, out: BinaryIO) -> None:
        """Write what is at an address of the web to a file. Raises as `file` does."""
        client = self._clients[urlsplit(url).hostname not in LOOPBACK]
        for attempt in range(1, TRIES + 1):
            out.seek(0)
            out.truncate()
            try:
                with client.stream("GET", url) as answer:
                    _check(answer)
                    self._copy(answer.iter_bytes(CHUNK), out)
                return
            except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise BadInput(f"it cannot be downloaded: {error}") from error
            except httpx.TransportError as error:
                if attempt == TRIES:
                    reason = str(error) or type(error).__name__
                    raise Unavailable(f"it could not be downloaded: {reason}") from error

    def _copy(self, chunks: Iterator[bytes], out: BinaryIO) -> None:
        size = 0
        for chunk in chunks:
            if self._stopping.is_set():
                raise Stopped("stopped")
            size += len(chunk)
            if size > LARGEST:
                raise BadInput(f"it is larger than {LARGEST / 2**20:.0f} MiB")
            out.write(chunk)
        if not size:
            raise BadInput("it is empty")


def _check(answer: httpx.Response) -> None:
    """Raise BadInput or Unavailable for an answer that is no picture."""
    if answer.is_server_error:
        raise Unavailable(f"it could not be downloaded: its server answers {answer.status_code}")
    if not answer.is_success:
        raise BadInput(f"it cannot be downloaded: its server answers {answer.status_code}")
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise BadInput("this is the address of a web page", hint="Give that of the picture itself.")


def sha256(file: Path) -> str:
    """The hash of a file's bytes, in hex."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
