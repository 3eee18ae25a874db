"""One run inside a stage: its model, its parameters, and its arrays between the stages."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from time import monotonic
from typing import Any, TypedDict

import numpy as np
import orjson
from numpy.typing import NDArray

from storage import scratch
from storage.errors import StorageDown
from storage.jobs.spec import RunRef, Spec
from tasks import uploads
from tasks.clients import scratch as scratch_store
from tasks.errors import Unavailable
from tasks.imaging.volumes.volume import Volume, restored
from tasks.models import registry
from tasks.models.base import Model
from tasks.settings import settings

MIN_LEFT_S = 0.001
"""A run without any time left ends at once, by the same way as one that runs out of it."""
MAX_RESTARTS = 2
"""How often a run starts again because one of its arrays was lost."""
ARRAYS = ("image", "file", "upload", "glance", "input", "output", "degraded")
"""`image` holds the voxels of a volume."""


class UploadInfo(TypedDict):
    """What preprocess has found out about the upload; the array `upload` is its JSON."""

    width: int
    """Upright, like `height`."""
    height: int
    orientation: int
    """How the file was turned, EXIF's 1..8."""
    browsers_agree: bool
    """Whether browsers show the upload as it was read."""
    has_alpha: bool
    """Whether any of it is transparent."""
    notes: Sequence[str]
    """Codes of tasks/imaging/notes.py."""


NO_UPLOAD: UploadInfo = {
    "width": 0,
    "height": 0,
    "orientation": 1,
    "browsers_agree": True,
    "has_alpha": False,
    "notes": (),
}
"""For models that need no pixels."""


class ArrayGone(Unavailable):
    """An array between two stages is gone (its host has restarted, say): the run starts again."""


@dataclass(frozen=True)
class Work:
    """One run inside a stage."""

    ref: RunRef
    spec: Spec
    restarts: int = 0
    """How often the run has started again because one of its arrays was lost."""
    worked_s: float = 0.0
    """How long its earlier stages took."""
    began: float = field(default_factory=monotonic)

    @cached_property
    def limit_s(self) -> float:
        """Longest time that the run may be worked on, in all stages together."""
        by_default = settings().volume_limit_s if self.model.input == "volume" else inf
        return settings().limits_of(self.spec.model).seconds or by_default

    @property
    def left_s(self) -> float:
        """How much of that is left."""
        return max(self.limit_s - self.worked_s - (monotonic() - self.began), MIN_LEFT_S)

    @cached_property
    def model(self) -> Model:
        """The run's model."""
        return registry.get(self.spec.model)

    @cached_property
    def params(self) -> Any:
        """The run's parameters, an instance of the model's own Params."""
        return self.model.params(**self.spec.params)

    def scratch(self, array: str) -> str:
        """The name of one of the run's arrays in the scratch store."""
        return _scratch_name(self.ref, array)

    def array(self, name: str) -> NDArray[np.generic]:
        """One of the run's arrays, read-only, as an earlier stage stored it.

        Raises ArrayGone if it is lost, and Unavailable if that has happened MAX_RESTARTS times.
        """
        try:
            return scratch_store().get(self.scratch(name))
        except FileNotFoundError as error:
            kind = ArrayGone if self.restarts < MAX_RESTARTS else Unavailable
            raise kind(
                "an array between two stages was lost",
                hint="Try again. If this happens again, the scratch folder loses files.",
            ) from error

    def glance(self) -> NDArray[np.generic] | None:
        """The small picture that the model's `glance` has made, if it makes one and it is there."""
        if self.model.glance is not None:
            with suppress(FileNotFoundError):
                return scratch_store().get(self.scratch("glance"))
        return None

    def put_upload_info(self, info: UploadInfo) -> None:
        """Store what postprocess needs to know of the upload."""
        array = np.frombuffer(orjson.dumps(info), np.uint8)
        scratch_store().put(self.scratch("upload"), array)

    def put_volume(self, volume: Volume) -> None:
        """Store a volume for postprocess."""
        scratch_store().put(self.scratch("image"), volume.voxels)
        facts = np.frombuffer(orjson.dumps(volume.facts()), np.uint8)
        scratch_store().put(self.scratch("upload"), facts)

    def volume(self) -> Volume:
        """The volume that preprocess has stored. Raises as `array` does."""
        facts = orjson.loads(self.array("upload").tobytes())
        return restored(np.asarray(self.array("image"), np.int16), facts)

    def keep_file(self, data: bytes) -> None:
        """Keep the upload's bytes for postprocess, if there is room."""
        with suppress(StorageDown):
            scratch_store().put(self.scratch("file"), np.frombuffer(data, np.uint8))

    def file(self) -> bytes:
        """The upload's bytes: those that were kept, else those in S3. Raises WrongBytes if they
        are gone or have changed."""
        with suppress(FileNotFoundError, StorageDown):
            return scratch_store().get(self.scratch("file")).tobytes()
        return uploads.read(self.spec)

    def upload_info(self) -> UploadInfo:
        """What preprocess has stored. Raises as `array` does."""
        info: UploadInfo = orjson.loads(self.array("upload").tobytes())
        return info


def delete_arrays(refs: Iterable[RunRef]) -> None:
    """Delete all arrays of these runs."""
    heads = [_scratch_name(ref, "") for ref in refs]
    scratch_store().delete(*[head + array for head in heads for array in ARRAYS])


def _scratch_name(ref: RunRef, array: str) -> str:
    return scratch.name(settings().installation, ref.key[:32], ref.attempt, array)
