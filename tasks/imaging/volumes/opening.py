"""Opens the file of a volume in a sandboxed process: DICOM, a zip of it, NIfTI, NRRD, pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from tasks.errors import BadInput
from tasks.imaging import sandbox
from tasks.imaging.header import MIB
from tasks.imaging.sandbox import Allowance
from tasks.imaging.volumes import grid, kinds, sentences, source
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.volume import Volume

DECODER = "tasks.imaging.volumes.decoder:decode"
"""What runs in the sandbox; a name, because it is imported only there."""
ACCEPTED = "DICOM (one file, or a zip of a series), NIfTI, NRRD, PNG and JPEG"
_BASE_BYTES = 384 * MIB
"""Of address space, beside the voxels as the file stores them."""
CPU_S = 120.0
_WALL_FACTOR = 4
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def open_volume(
    data: bytes,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    with_source: bool = False,
) -> Volume:
    """The volume in a file; `with_source` also the UIDs of the DICOM files that it came from.

    Raises BadInput, whose sentence says what was wrong and what to do: 413 `too_large`, 415
    `unsupported_type`, else 422. Raises Unavailable if no process could be started.
    """
    if not data:
        raise BadInput("The file is empty: it has no bytes.", code="empty")
    if len(data) > limits.max_bytes:
        raise BadInput(
            f"{len(data) / MIB:.1f} MiB is too large: the limit is {limits.max_bytes / MIB:g} MiB.",
            code="too_large",
            status=413,
            hint="Send a part of the series, or one with thicker slices.",
        )
    if not kinds.media_type(data[: kinds.START_BYTES]) and not data.startswith(_PICTURES):
        raise BadInput(
            f"This file is not accepted as a volume; {ACCEPTED} are.",
            code="unsupported_type",
            status=415,
            hint="Send the CT series as a zip of its DICOM files, or as NIfTI or NRRD.",
        )
    allowance = Allowance(2 * limits.max_raw_bytes + _BASE_BYTES, CPU_S, CPU_S * _WALL_FACTOR)
    try:
        answer, memory = sandbox.run(
            DECODER,
            data,
            {**asdict(limits), "with_source": with_source},
            limits.max_raw_bytes,
            allowance,
        )
    except BadInput as error:
        raise sentences.refusal("bad_volume", {}) from error.__cause__
    if "refused" in answer:
        raise sentences.refusal(str(answer["refused"]), dict(answer.get("numbers") or {}))
    return _volume(answer, memory, limits)


def _volume(answer: Mapping[str, Any], memory: sandbox.Memory, limits: Limits) -> Volume:
    """What the child reports is trusted no more than the bytes that it has read."""
    try:
        z, height, width = (int(side) for side in answer["shape"])
        spacing = [float(side) for side in answer["spacing_mm"]]
        lies = grid.read(answer["grid"])
    except (KeyError, TypeError, ValueError) as error:
        raise sentences.refusal("bad_volume", {}) from error
    is_sane = (z, height, width) == lies.slices_shape and np.isfinite(spacing).all()
    size = 2 * z * height * width
    if not is_sane or not 0 < size <= limits.max_raw_bytes or len(spacing) != 3:
        raise sentences.refusal("bad_volume", {})
    voxels = memory[:size].view(np.int16).reshape(z, height, width)
    notes = sentences.notes(answer.get("notes") or [])
    known = answer.get("source")
    return Volume(
        voxels, spacing, lies.as_json(), bool(answer.get("is_hu")), notes,
        known if source.is_source(known) else None,
    )  # fmt: skip
