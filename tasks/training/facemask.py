"""Trains the classifier of `facemask`: python -m tasks.training.facemask --data DIR (see --help).

Faces are found by the detector that is used later, on the pictures as they come; what it finds is
labelled by the annotations, so that the classifier learns from the very crops it will see, the
detector's mistakes included ("no face"). It starts from ImageNet features (EfficientNet-Lite0 out
of a PyPI package). Then scores are calibrated on pictures that were not trained on.
"""

import argparse
import hashlib
import json
import math
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tasks.imaging import geometry
from tasks.models import facemask, registry, weights
from tasks.models.nets.facemask import (
    CLASSES,
    CROP,
    MARGIN,
    Classifier,
    find_faces,
    pyramid,
    square,
)
from tasks.settings import settings

SEED = 20261121
EPOCHS = 14
BATCH = 64
RATE = 1e-3
FROZEN_BLOCKS = 3
"""Edges and textures down to 1/4 stay as ImageNet taught them: half the time, and few bare faces
cannot spoil them."""
CONTEXT = 1.6
"""What is kept around a face, times the square that the classifier sees: room for jitter."""
KEPT_SIDE = 192
TEST, VALIDATION = 0.15, 0.10
"""Shares of pictures and persons; which ones is decided by a hash of the name, for ever."""
MASK, BARE, WRONG, NOTHING = range(4)
Box = NDArray[np.float32]

out = Console(highlight=False)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json")
    parser.add_argument("--out", type=Path, default=Path("var/training/facemask"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    samples = _remembered(asked.out / "samples.pt", lambda: list(collect(asked.data)))
    out.print(_summary(samples))
    net = train(samples, asked.out, asked.epochs, asked.device)
    fitted = calibrate(net, samples)
    target = asked.out / "facemask.safetensors"
    state = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    state["calibration"] = torch.tensor(fitted, dtype=torch.float32)
    save_file(state, target)
    out.print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, sha256 {_sha256(target)}")


def split_of(name: str) -> str:
    """train, validation or test, for a picture or a person."""
    share = int(hashlib.sha256(f"facemask {name}".encode()).hexdigest()[:8], 16) / 16**8
    if share < TEST:
        return "test"
    return "validation" if share < TEST + VALIDATION else "train"


def person_of(source: str) -> str:
    """Whom a crop shows, as far as its source's file name tells; else the file itself."""
    found = re.match(r"\d+_\d+_([a-z]+)_\d+", Path(source).stem)
    return found[1] if found else source


def scenes(data: Path) -> Iterator[tuple[Path, str, list[tuple[Box, int]]]]:
    """(file, split, [(x1 y1 x2 y2, class)]) of each annotated picture."""
    found = json.loads((data / "annotations.json").read_text())
    faces = defaultdict(list)
    for one in found["annotations"]:
        x, y, width, height = one["bbox"]
        box = np.array([x, y, x + width, y + height], np.float32)
        faces[one["image_id"]].append((box, one["category_id"] - 1))
    for image in sorted(found["images"], key=lambda one: one["file_name"]):
        yield data / image["file_name"], split_of(image["file_name"]), faces[image["id"]]


def portraits(data: Path) -> Iterator[tuple[Path, str, int]]:
    """(file, split, class) of each picture of one person."""
    for name, source in sorted(json.loads((data / "crops" / "sources.json").read_text()).items()):
        yield data / name, split_of(person_of(source)), BARE if "no_facemask" in name else MASK


def collect(data: Path) -> Iterator[Sample]:
    """Every crop to learn from."""
    session = detector()
    for path, split, faces in track(list(scenes(data)), "finding faces in scenes"):
        yield from _of_scene(_read(path), split, faces, session)
    for path, split, label in track(list(portraits(data)), "finding faces in portraits"):
        image = _read(path)
        boxes = look(image, session)
        if len(boxes):
            main_face = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]) * box[4])
            yield Sample(_kept(image, main_face), label, split, float(main_face[4]), 1.0)


def detector() -> Any:
    """CenterFace as it is used later."""
    file = weights.fetch(facemask.MODEL.weights["centerface"], settings().weights_path)
    return facemask.load_detector(file, "cpu")


def look(image: NDArray[Any], session: Any) -> Box:
    """N x 5 boxes of one picture in its own pixels, as `facemask` finds them."""
    height, width = facemask.working_size(*image.shape[:2])
    boxed, mapping = geometry.letterbox(image, height, width)
    batch = torch.from_numpy(boxed).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        levels = pyramid(batch.contiguous(memory_format=torch.channels_last))
        [found] = find_faces(session, levels, facemask.FIRST_LOOK, facemask.MOST)
    return np.concatenate([mapping.boxes_back(found[:, :4]), found[:, 4:]], axis=1)


def overlap(box: Box, other: Box) -> float:
    """Intersection over union."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:4], other[2:4])
    common = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(one[2:4] - one[:2])) for one in (box, other)]
    return common / max(sum(areas) - common, 1e-6)


def _of_scene(
    image: NDArray[Any], split: str, faces: list[tuple[Box, int]], session: Any
) -> Iterator[Sample]:
    boxes = look(image, session)
    for box in boxes:
        best = max(faces, key=lambda face: overlap(box, face[0]), default=None)
        common = overlap(box, best[0]) if best else 0.0
        small = float(min(box[2] - box[0], box[3] - box[1])) < 12
        if best and common >= 0.4:
            yield Sample(_kept(image, box), best[1], split, float(box[4]), 0.5 if small else 1.0)
        # A confident find that nobody annotated is often a face that the annotator left out: not to
        # be learned from, but it counts where scores are calibrated against annotations.
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


def train(samples: Sequence[Sample], folder: Path, epochs: int, device: str) -> Classifier:
    """Seeded; goes on from the last epoch that `folder` has."""
    net = _from_imagenet().to(device)
    for layer in (net.stem, *list(net.blocks)[:FROZEN_BLOCKS]):
        layer.requires_grad_(False)
    learning = [values for values in net.parameters() if values.requires_grad]
    used = [one for one in samples if one.split in ("train", "train-annotated")]
    balance = _balance(used)
    optimiser = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.02)
    steps = epochs * math.ceil(len(used) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    checkpoint = folder / "checkpoint.pt"
    done = 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        if kept["epochs"] == epochs:
            net.load_state_dict(kept["net"])
            optimiser.load_state_dict(kept["optimiser"])
            schedule.load_state_dict(kept["schedule"])
            done = kept["done"]
    for epoch in range(done, epochs):
        loss = _epoch(net, used, balance, optimiser, schedule, epoch, device)
        torch.save(
            {
                "epochs": epochs,
                "done": epoch + 1,
                "net": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
            },
            checkpoint,
        )
        out.print(f"epoch {epoch + 1}: loss {loss:.4f}; validation {_accuracy(net, samples)}")
    return net.cpu().eval()


def _epoch(
    net: Classifier,
    used: Sequence[Sample],
    balance: Mapping[int, float],
    optimiser: Any,
    schedule: Any,
    epoch: int,
    device: str,
) -> float:
    chance = random.Random(SEED + epoch)
    torch.manual_seed(SEED + epoch)
    order = list(range(len(used)))
    chance.shuffle(order)
    things = [one for one in used if one.label == NOTHING]
    total = 0.0
    net.train()
    for at in track(range(0, len(order), BATCH), f"epoch {epoch + 1}"):
        chosen = [used[k] for k in order[at : at + BATCH]]
        pairs = [augmented(one, chance, things) for one in chosen]
        pixels = torch.from_numpy(np.stack([crop for crop, _ in pairs])).permute(0, 3, 1, 2)
        labels = torch.tensor([label for _, label in pairs]).to(device)
        importance = torch.tensor([one.weight * balance[one.label] for one in chosen]).to(device)
        batch = pixels.float().to(device).contiguous(memory_format=torch.channels_last)
        losses = functional.cross_entropy(
            net(batch), labels, reduction="none", label_smoothing=0.03
        )
        loss = (losses * importance).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(chosen)
    net.eval()
    return total / len(order)


def _balance(used: Sequence[Sample]) -> dict[int, float]:
    """Weight per class: rare ones count for more, by the root of how rare they are."""
    counts = {label: sum(one.label == label for one in used) for label in range(len(CLASSES))}
    largest = max(counts.values())
    return {label: math.sqrt(largest / max(1, count)) for label, count in counts.items()}


def augmented(
    one: Sample, chance: random.Random, things: Sequence[Sample]
) -> tuple[NDArray[Any], int]:
    """A CROP x CROP view of the sample and its class; a bare face may be given a drawn mask, or one
    of `things` (crops that show no face) before its mouth, which is no mask."""
    pixels, label = one.pixels, one.label
    if label == BARE and one.heat > 0.5 and chance.random() < 0.15:
        pixels, label = draw_mask(pixels, chance), MASK
    elif label != NOTHING and things and chance.random() < 0.25:
        pixels = _behind(chance.choice(things).pixels, pixels, chance, is_bare=label == BARE)
    side = pixels.shape[0] / CONTEXT * chance.uniform(0.82, 1.2)
    middle = pixels.shape[0] / 2
    x, y = (middle + chance.uniform(-0.09, 0.09) * side for _ in range(2))
    angle, mirrored = chance.gauss(0, 8), chance.random() < 0.5
    turn = cv2.getRotationMatrix2D((x, y), angle, CROP / side)
    turn[:, 2] += np.array([CROP / 2 - x, CROP / 2 - y])
    crop = cv2.warpAffine(
        _softened(pixels, side, chance), turn, (CROP, CROP), borderValue=(114,) * 3
    )
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return _recoloured(_worn(crop, chance), chance), label


def _behind(
    thing: NDArray[Any], pixels: NDArray[Any], chance: random.Random, *, is_bare: bool
) -> NDArray[Any]:
    """The face with a piece of something in front: a head, hand or telephone hides a mouth without
    being a mask. A mask itself is not hidden, only hair, forehead and eyes are."""
    side = pixels.shape[0]
    face = side / CONTEXT / (1 + 2 * MARGIN)
    width, height = chance.uniform(0.3, 1.1) * face, chance.uniform(0.3, 0.7) * face
    low, high = (0.1, 0.65) if is_bare and chance.random() < 0.7 else (-0.7, -0.25)
    x = side / 2 + chance.uniform(-0.5, 0.5) * face
    y = side / 2 + chance.uniform(low, high) * face
    shape = ((x, y), (width, height), chance.uniform(-40, 40))
    cover = np.zeros((side, side), np.uint8)
    if chance.random() < 0.5:
        cv2.ellipse(cover, shape, 255, -1)
    else:
        cv2.fillPoly(cover, [cv2.boxPoints(shape).round().astype(np.int32)], 255)
    soft = cv2.GaussianBlur(cover, (0, 0), max(0.5, side / 120)).astype(np.float32)[:, :, None]
    layer = cv2.resize(thing, (side, side), interpolation=cv2.INTER_LINEAR)
    mixed: NDArray[Any] = (pixels + (layer.astype(np.float32) - pixels) * soft / 255).astype(
        np.uint8
    )
    return mixed


def _softened(pixels: NDArray[Any], side: float, chance: random.Random) -> NDArray[Any]:
    """What will shrink is averaged first, as it is when the model runs."""
    blur = side / CROP
    return cv2.GaussianBlur(pixels, (0, 0), 0.5 * blur) if blur > 1.3 else pixels


def _worn(crop: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """Fewer pixels, blur, JPEG: what cameras and messengers do to a face."""
    if chance.random() < 0.5:
        side = round(math.exp(chance.uniform(math.log(14), math.log(80))))
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(small, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    if chance.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), chance.uniform(0.4, 1.8))
    if chance.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, chance.randint(25, 85)]
        crop = np.asarray(cv2.imdecode(cv2.imencode(".jpg", crop, quality)[1], cv2.IMREAD_COLOR))
    return crop


def _recoloured(crop: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """Light, contrast, cast of colour, or none at all; something in front of a corner."""
    gains = np.array([chance.gauss(1, 0.05) for _ in range(3)]) * chance.uniform(0.7, 1.3)
    shifted = (crop.astype(np.float32) - 127) * gains + 127 + chance.uniform(-25, 25)
    crop = np.clip(shifted, 0, 255).astype(np.uint8)
    if chance.random() < 0.12:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if chance.random() < 0.15:
        width, height = (chance.randint(12, 40) for _ in range(2))
        x, y = chance.choice((0, CROP - width)), chance.choice((0, CROP - height))
        colour = [chance.randint(0, 255) for _ in range(3)]
        crop[y : y + height, x : x + width] = colour
    return crop


def draw_mask(pixels: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """A mask over the lower half of the face in the middle, so that the same people are in both
    classes and nothing but the mask tells them apart."""
    side = pixels.shape[0]
    face = side / CONTEXT / (1 + 2 * MARGIN)  # the box in the square in the context
    x, y = side / 2, side / 2
    top, chin = y + chance.uniform(-0.06, 0.06) * face, y + chance.uniform(0.44, 0.55) * face
    wide, low = chance.uniform(0.33, 0.42) * face, chance.uniform(0.2, 0.3) * face
    outline = [
        (x - wide, top + 0.04 * face),
        (x, top - chance.uniform(0, 0.12) * face),
        (x + wide, top + 0.04 * face),
        (x + wide * 0.95, y + 0.3 * face),
        (x + low, chin),
        (x - low, chin),
        (x - wide * 0.95, y + 0.3 * face),
    ]
    corners = np.array(outline, np.float32).round().astype(np.int32)
    tones = ((235, 240, 240), (150, 190, 215), (40, 40, 45), (120, 170, 130), (205, 160, 170))
    tone = np.array(chance.choice(tones)) + chance.randint(-18, 18)
    layer, cover = pixels.copy(), np.zeros((side, side), np.uint8)
    cv2.fillPoly(layer, [corners], [int(v) for v in np.clip(tone, 0, 255)])
    for k in range(chance.randint(0, 3)):  # folds
        level = round(y + (0.12 + 0.1 * k) * face)
        shade = [int(v) for v in np.clip(tone - 25, 0, 255)]
        cv2.line(layer, (round(x - wide), level), (round(x + wide), level), shade, 1)
    cv2.fillPoly(cover, [corners], 255)
    soft = (
        cv2.GaussianBlur(cover, (0, 0), max(0.5, side / 120)).astype(np.float32)[:, :, None] / 255
    )
    light = cv2.GaussianBlur(pixels, (0, 0), side / 16).astype(np.float32)
    shaded = layer * (0.75 + 0.25 * light / max(1.0, float(light.mean())))
    mixed: NDArray[Any] = np.clip(pixels * (1 - soft) + shaded * soft, 0, 255).astype(np.uint8)
    return mixed


def plain(one: Sample) -> NDArray[Any]:
    """The view of a sample that the model would see."""
    whole = one.pixels.shape[0]
    side = round(whole / CONTEXT)
    start = (whole - side) // 2
    inner = np.ascontiguousarray(one.pixels[start : start + side, start : start + side])
    crop: NDArray[Any] = geometry.resize(inner, CROP, CROP)
    return crop


def scores(net: Classifier, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """N x 4 logits."""
    found = []
    with torch.inference_mode():
        for at in range(0, len(samples), 128):
            crops = np.stack([plain(one) for one in samples[at : at + 128]])
            batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
            found.append(net(batch.to(next(net.parameters()).device)).float().cpu().numpy())
    told: NDArray[np.float32] = np.concatenate(found)
    return told


def calibrate(net: Classifier, samples: Sequence[Sample]) -> list[float]:
    """Factor and shift of the mask's margin, then of the face's, and factor of the heat's logit:
    logistic fits on the validation pictures, so that a score is the share that is right.

    Masked and bare faces weigh the same there, though streets had nine masks to one bare face: at
    the next door it may be the other way round.
    """
    used = [one for one in samples if one.split in ("validation", "validation-unannotated")]
    logits = torch.from_numpy(scores(net, used))
    labels = torch.tensor([one.label for one in used])
    heat = torch.logit(torch.tensor([one.heat for one in used]).clamp(0.01, 0.99))
    face = labels != NOTHING
    masked = (labels[face] != BARE).float()
    share = masked.mean().clamp(0.01, 0.99)  # of a few pictures all may be of one kind
    even = 0.5 * (masked / share + (1 - masked) / (1 - share))
    usual = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.3])
    values = usual.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")
    wearing, facing = facemask.margins(logits)

    def closure() -> Any:
        optimiser.zero_grad()
        told = functional.binary_cross_entropy_with_logits(
            wearing[face] * values[0] + values[1], masked, even
        )
        seen = functional.binary_cross_entropy_with_logits(
            facing * values[2] + values[3] + heat * values[4], face.float()
        )
        # Kinds that never mix up would have no end of certainty.
        loss = told + seen + 1e-3 * (values - usual).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch types it not
    return [round(float(value), 4) for value in values.detach()]


def _from_imagenet() -> Classifier:
    [file] = weights.fetch_model(registry.get("classify")).values()
    torch.manual_seed(SEED)
    net = Classifier()
    wanted = net.state_dict()
    known = {k: v for k, v in load_file(file).items() if k in wanted and v.shape == wanted[k].shape}
    known = {k: v for k, v in known.items() if k.startswith(("stem.", "blocks."))}
    net.load_state_dict({**wanted, **known})
    ready: Any = net
    return cast(Classifier, ready.to(memory_format=torch.channels_last))


def _accuracy(net: Classifier, samples: Sequence[Sample]) -> str:
    used = [one for one in samples if one.split == "validation"]
    told = scores(net, used).argmax(axis=1)
    parts = []
    for label, name in enumerate(CLASSES):
        right = [bool(told[k] == label) for k, one in enumerate(used) if one.label == label]
        parts.append(f"{name} {sum(right)}/{len(right)}")
    return ", ".join(parts)


def _summary(samples: Sequence[Sample]) -> str:
    lines = []
    for split in sorted({one.split for one in samples}):
        counts = [sum(s.split == split and s.label == k for s in samples) for k in range(4)]
        lines.append(
            f"{split}: " + ", ".join(f"{n} {c}" for n, c in zip(CLASSES, counts, strict=True))
        )
    return "\n".join(lines)


def _remembered(file: Path, make: Any) -> list[Sample]:
    if file.exists():
        return [Sample(**one) for one in torch.load(file, weights_only=False)]
    samples: list[Sample] = make()
    torch.save([vars(one) for one in samples], file)
    return samples


def _read(path: Path) -> NDArray[Any]:
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise FileNotFoundError(f"{path} is no picture")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
