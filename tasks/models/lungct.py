"""Lungs in chest CT: a U-Net scores each slice; the lungs are told apart by geometry.

Research demonstration. Not a medical device; not for diagnosis or treatment.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.imaging.types import Tensor
from tasks.imaging.volumes import grid, nifti, segmentation, viewer
from tasks.imaging.volumes.along import averaged
from tasks.imaging.volumes.body import body_square
from tasks.imaging.volumes.lungs import LEFT, RIGHT, SIDE, Lungs, crops, find
from tasks.imaging.volumes.montage import montage
from tasks.imaging.volumes.volume import Volume
from tasks.models.base import CpuNetwork, File, Model, Output, Params, Weight

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

LOW, HIGH = -1000, 400
"""HU that the network tells apart."""
DISCLAIMER = "Research demonstration. Not a medical device; not for diagnosis or treatment."
NAMES = {RIGHT: "Right lung", LEFT: "Left lung"}
SEGMENTS = {
    RIGHT: segmentation.Segment("Right lung", "3341006"),
    LEFT: segmentation.Segment("Left lung", "44029006"),
}
NO_SEG = "A DICOM SEG was not written: it needs a DICOM series whose files have all UIDs."
NO_HIGHDICOM = "A DICOM SEG was not written: this server lacks the package highdicom."
CUT_ML = 5.0
"""Lung in the first or the last slice, as ml of a slice of 10 mm, from which it is called cut."""
USUAL_ML = (1_000, 9_000)


class LungCt(Params):
    """What may be chosen."""

    dicom_seg: bool = Field(
        default=False,
        title="DICOM SEG",
        description="Also write the mask as a DICOM segmentation, with the UIDs of the series.",
    )


def load(weights: Mapping[str, Path], device: str) -> Any:
    """The network on the device, for inference only: in halves on a GPU."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.lungct import LungNet

    (file,) = weights.values()
    state = load_file(file, device=device)
    net = LungNet().to(device)
    net.load_state_dict({name: value.float() for name, value in state.items()})
    net.requires_grad_(False).eval()
    if device.startswith("cuda"):
        net.half()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # stub lacks it


def preprocess(volume: Volume, params: LungCt) -> NDArray[np.float16]:
    """Z x 1 x 256 x 256: the square around the body of each slice, LOW..HIGH as -1..1."""
    small = crops(volume.voxels, body_square(volume.voxels))[:, None]
    return ((np.clip(small, LOW, HIGH) - LOW) * (2 / (HIGH - LOW)) - 1).astype(np.float16)


def infer(session: Any, batch: "torch.Tensor") -> Sequence[Any]:
    """N x 1 x 256 x 256 -> N of 1 x 256 x 256, 0..1: how sure it is that a pixel is lung."""
    import torch

    with torch.inference_mode():
        kind = next(session.parameters()).dtype
        slices = batch.to(kind).contiguous(memory_format=torch.channels_last)
        return list(session(slices).float().sigmoid())


def load_cpu(weights: Mapping[str, Path], threads: int) -> Any:
    """The network as MNN runs it."""
    from tasks.models.nets import mnn

    (file,) = weights.values()
    return mnn.load(file, threads)


def infer_cpu(session: Any, batch: Tensor) -> Sequence[Tensor]:
    """What `infer` does, by MNN."""
    from tasks.models.nets import mnn

    scores = mnn.run(session, batch)
    return list(1 / (1 + np.exp(-scores)))


def postprocess(scores: Any, volume: Volume, params: LungCt, wanted: Sequence[str]) -> Output:
    """Z x 1 x 256 x 256 -> millilitres, the mask on the file's own grid, a picture."""
    lungs = find(averaged(scores[:, 0], volume.spacing_mm[0]), volume.voxels)
    mask = nifti.mask_file(lungs.mask, grid.read(volume.grid))
    files = {
        "mask.nii.gz": File(mask, "application/gzip"),
        viewer.NAME: File(viewer.packed(volume, lungs.mask), viewer.MEDIA_TYPE),
    }
    notes = [DISCLAIMER, *volume.notes, *_doubts(lungs, volume)]
    if params.dicom_seg and lungs.mask.any():
        if volume.source and segmentation.is_available():
            lies = grid.read(volume.grid)
            data = segmentation.write(lungs.mask, lies, volume.source, SEGMENTS, "lungct")
            files["seg.dcm"] = File(data, segmentation.MEDIA_TYPE)
        else:
            notes.append(NO_SEG if volume.source is None else NO_HIGHDICOM)
    return Output(
        data=_data(lungs, volume),
        images={"preview": montage(volume.voxels, lungs)},
        files=files,
        notes=notes,
    )


def _millilitres(count: int, volume: Volume) -> float | None:
    """Of so many voxels; None where their size is unknown."""
    size = float(np.prod(volume.spacing_mm)) / 1000
    return round(count * size, 1) if size else None


def _data(lungs: Lungs, volume: Volume) -> dict[str, Any]:
    counts = np.bincount(lungs.mask.reshape(-1), minlength=LEFT + 1)
    seen = np.flatnonzero(lungs.mask.any(axis=(1, 2)))
    return {
        "regions": [
            {"label": name, "value": value, "ml": _millilitres(int(counts[value]), volume)}
            for value, name in NAMES.items()
        ],
        "total_ml": _millilitres(int(counts[RIGHT] + counts[LEFT]), volume),
        "slices": len(volume.voxels),
        "slices_with_lung": len(seen),
        "spacing_mm": [round(side, 4) for side in volume.spacing_mm],
        "orientation": volume.grid["orientation"],
        "intended_use": DISCLAIMER,
    }


def _doubts(lungs: Lungs, volume: Volume) -> list[str]:
    """What does not look like a whole chest."""
    total = _millilitres(int((lungs.mask > 0).sum()), volume)
    if not lungs.mask.any():
        return ["No lungs were found in this volume."]
    doubts = []
    height, width = volume.spacing_mm[1:]
    ends = [float((lungs.mask[z] > 0).sum()) * height * width / 100 for z in (0, -1)]
    if max(ends) > CUT_ML and len(volume.voxels) > 1:
        doubts.append("The lungs reach the first or the last slice: they may be cut off.")
    elif len(volume.voxels) > 1 and total is not None and not USUAL_ML[0] <= total <= USUAL_ML[1]:
        doubts.append(f"{total:,.0f} ml is unusual for the lungs of an adult; look at the mask.")
    return doubts


MODEL = Model(
    title="Lungs in chest CT",
    kind="volume",
    input="volume",
    channels=1,
    params=LungCt,
    load=load,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=((SIDE, SIDE),),
    max_batch=32,
    weights={
        "lungct": Weight(
            member="lungct.safetensors",
            sha256="0fbfcfeb28b9f16d254a3432842388bcb191aae558e38f9b0fdc57e9baf60bbb",
            licence="Apache-2.0; trained on LCTSC (CC BY 3.0)",
            bytes=1831868,
        )
    },
    cpu={
        "mnn": CpuNetwork(
            load_cpu,
            infer_cpu,
            {
                # `python -m tasks.training.convert lungct` makes it of the weights above.
                "lungct": Weight(
                    member="lungct.mnn",
                    sha256="144af1a1109226710ee33941c87040139324d1164fddc26bc65d3fe22f056c90",
                    licence="Apache-2.0; trained on LCTSC (CC BY 3.0)",
                    bytes=1827684,
                )
            },
        ),
    },
    licence="Apache-2.0",
    intended_use="Finds the two lungs in a CT of the chest and measures them in ml, for research "
    f"and teaching. {DISCLAIMER}",
    needs_source=lambda params: params.dicom_seg,
    texts={
        "zh": {
            "DICOM SEG": "DICOM SEG",
            "Also write the mask as a DICOM segmentation, with the UIDs of the series.": (
                "同时将掩膜写成 DICOM 分割文件，其中含有该序列的 UID。"
            ),
            "Lungs in chest CT": "胸部 CT 肺部分割",
            "Finds the two lungs in a CT of the chest and measures them in ml, for research "
            f"and teaching. {DISCLAIMER}": "在胸部 CT 中找出左右两肺并以毫升计量，用于研究和教学。"
            "研究演示。非医疗器械，不得用于诊断或治疗。",
            "Right lung": "右肺",
            "Left lung": "左肺",
        }
    },
)
