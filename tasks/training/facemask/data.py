"""The pictures to learn from: faces as the detector finds them, labelled by the annotations."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from tasks.imaging import geometry
from tasks.models import facemask, weights
from tasks.models.nets.facemask import find_faces, pyramid
from tasks.models.nets.faces import square
from tasks.settings import settings

CONTEXT = 1.6
"""What is kept around a face, as a multiple of the square that the classifier sees: room to move it
about."""
KEPT_SIDE = 192
"""Longest side in pixels of what is kept."""
TEST, VALIDATION = 0.15, 0.10
"""Shares of the pictures and persons. A hash of the name decides which, so it never changes."""
MASK, BARE, WRONG, NOTHING = range(4)
"""The classes, in the order of `CLASSES`."""

Box = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One crop to learn from."""

    pixels: NDArray[Any]
    """KEPT_SIDE x KEPT_SIDE x 3, or less for small faces: CONTEXT times the square of the face."""
    label: int
    split: str
    heat: float
    """The detector's score."""
    weight: float


def split_of(name: str) -> str:
    """`train`, `validation` or `test`, for the name of a picture or of a person."""
    share = int(hashlib.sha256(f"facemask {name}".encode()).hexdigest()[:8], 16) / 16**8
    if share < TEST:
        return "test"
    return "validation" if share < TEST + VALIDATION else "train"


def person_of(source: str) -> str:
    """The person that a crop shows, if its source's file name says so; else the file itself."""
    match = re.match(r"\d+_\d+_([a-z]+)_\d+", Path(source).stem)
    return match[1] if match else source


def scenes(data: Path) -> Iterator[tuple[Path, str, list[tuple[Box, int]]]]:
    """(file, split, [(x1 y1 x2 y2, class)]) of each annotated picture."""
    annotations = json.loads((data / "annotations.json").read_text())
    faces = defaultdict(list)
    for face in annotations["annotations"]:
        x, y, width, height = face["bbox"]
        box = np.array([x, y, x + width, y + height], np.float32)
        faces[face["image_id"]].append((box, face["category_id"] - 1))
    for image in sorted(annotations["images"], key=lambda image: image["file_name"]):
        yield data / image["file_name"], split_of(image["file_name"]), faces[image["id"]]


def portraits(data: Path) -> Iterator[tuple[Path, str, int]]:
    """(file, split, class) of each picture of one person."""
    for name, source in sorted(json.loads((data / "crops" / "sources.json").read_text()).items()):
        yield data / name, split_of(person_of(source)), BARE if "no_facemask" in name else MASK


def collect(data: Path) -> Iterator[Sample]:
    """All crops to learn from, those that the splits keep for validation and test included."""
    session = detector()
    for path, split, faces in track(list(scenes(data)), "finding faces in scenes"):
        yield from _of_scene(read(path), split, faces, session)
    for path, split, label in track(list(portraits(data)), "finding faces in portraits"):
        image = read(path)
        boxes = detect(image, session)
        if len(boxes):
            main_face = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]) * box[4])
            yield Sample(_kept(image, main_face), label, split, float(main_face[4]), 1.0)


def detector() -> Any:
    """CenterFace, as the model uses it."""
    file = weights.fetch(facemask.MODEL.weights["centerface"], settings().weights_path)
    return facemask.load_detector(file, "cpu")


def detect(image: NDArray[Any], session: Any) -> Box:
    """The faces that the model finds: N x 5 (x1, y1, x2, y2, score) in the picture's pixels."""
    height, width = facemask.working_size(*image.shape[:2])
    boxed, mapping = geometry.letterbox(image, height, width)
    batch = torch.from_numpy(boxed).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        levels = pyramid(batch.contiguous(memory_format=torch.channels_last))
        [boxes] = find_faces(session, levels, facemask.DETECTED_FROM, facemask.MAX_FACES)
    return np.concatenate([mapping.boxes_back(boxes[:, :4]), boxes[:, 4:]], axis=1)


def overlap(box: Box, other: Box) -> float:
    """Intersection over union."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:4], other[2:4])
    common = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(each[2:4] - each[:2])) for each in (box, other)]
    return common / max(sum(areas) - common, 1e-6)


def _of_scene(
    image: NDArray[Any], split: str, faces: list[tuple[Box, int]], session: Any
) -> Iterator[Sample]:
    boxes = detect(image, session)
    for box in boxes:
        best = max(faces, key=lambda face: overlap(box, face[0]), default=None)
        common = overlap(box, best[0]) if best else 0.0
        small = float(min(box[2] - box[0], box[3] - box[1])) < 12
        if best and common >= 0.4:
            yield Sample(_kept(image, box), best[1], split, float(box[4]), 0.5 if small else 1.0)
        # A confident detection without an annotation is often a face that the annotator left out.
        # It is not learned from, but it counts where scores are calibrated against annotations.
        elif common < 0.15 and not small:
            part = split if box[4] < 0.45 else f"{split}-unannotated"
            yield Sample(_kept(image, box), NOTHING, part, float(box[4]), 1.0)
    for face, label in faces:  # what the detector missed, or another crop of what it found
        if min(face[2] - face[0], face[3] - face[1]) >= 16:
            yield Sample(_kept(image, face), label, f"{split}-annotated", 1.0, 0.5)


def _kept(image: NDArray[Any], box: Box) -> NDArray[Any]:
    left, top, side = square(box)
    grown = side * CONTEXT
    left, top = left - (grown - side) / 2, top - (grown - side) / 2
    target = int(min(KEPT_SIDE, max(16, round(grown))))
    scale = target / grown
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if scale < 0.5:  # warpAffine does not average: shrink the picture first
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        move = np.array([[1, 0, -left * scale], [0, 1, -top * scale]], np.float32)
        shrinks = cv2.INTER_LINEAR
    grey = (114, 114, 114)
    flags = cv2.INTER_LINEAR if shrinks == cv2.INTER_AREA else shrinks
    return cv2.warpAffine(image, move, (target, target), flags=flags, borderValue=grey)


def read(path: Path) -> NDArray[Any]:
    """H x W x 3 uint8 RGB."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise FileNotFoundError(f"{path} is not a picture that OpenCV can read")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
