"""A network in the form that an engine has compiled it to, kept in the folder of weights.

OpenVINO compiles for most of a second what it loads in a sixth of that, and compiling takes memory
that it does not give back. Whoever loads such a form trusts it like code, and cannot check it as
weights are checked, since every processor has its own. So it is kept with a keyed hash, by the
installation's secret: what another program has written, or a disk has damaged, is never loaded.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from contextlib import suppress

import structlog

from storage.private_files import write_new
from tasks.settings import settings

ENDING = ".compiled"
HASH_BYTES = 32

log = structlog.get_logger()


class Kept:
    """One network's form. Where the folder or the secret is missing, nothing is kept."""

    def __init__(self, name: str, network: bytes, made_by: bytes) -> None:
        """`network`: the file that is compiled. `made_by`: whatever else the form depends on."""
        digest = hashlib.sha256(hashlib.sha256(network).digest() + made_by)
        self._file = settings().weights_path / f"{name}-{digest.hexdigest()[:16]}{ENDING}"
        self._made_of = digest.digest()

    def read(self) -> bytes | None:
        """The form; None if none is kept, or another program has made or changed it."""
        if not settings().secret:
            return None
        try:
            content = self._file.read_bytes()
        except OSError:
            return None
        given, blob = content[:HASH_BYTES], content[HASH_BYTES:]
        if hmac.compare_digest(given, self._hash(blob)):
            return blob
        self.refused("it is damaged, or of another installation")
        return None

    def write(self, export: Callable[[], bytes]) -> None:
        """Keep what `export` returns, for those that start after this process."""
        if not settings().secret or not self._file.parent.is_dir():
            return
        blob = export()
        part = self._file.with_suffix(f".{os.getpid()}")
        try:
            write_new(str(part), [self._hash(blob), blob])
            part.replace(self._file)
        except OSError as error:  # the folder is full, or may not be written to
            log.info("a compiled network is not kept", file=str(self._file), reason=str(error))
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def refused(self, reason: object) -> None:
        """Say that what is kept is not used."""
        log.warning("a network is compiled again", file=str(self._file), reason=str(reason))

    def _hash(self, blob: bytes) -> bytes:
        return hmac.digest(settings().secret.encode(), self._made_of + blob, "sha256")
