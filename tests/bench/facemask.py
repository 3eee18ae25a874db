"""make bench-facemask ARGS="--data DIR": how many faces are found, and how many are called right.

On the test split of the training data: pictures and persons that neither the training nor the
calibration has seen, chosen by a hash of their names. A face counts as found by a box that overlaps
it by 0.4 (intersection over union) with a score of 0.5 or more, right when that box has its label.
Faces under 20 pixels, and masks that are worn incorrectly, are neither asked for nor held against.
The precision of a label is of all boxes of 20 pixels and more: one is right if it overlaps a face
with that label by 0.3; any mask will do for `facemask`. `--split all` takes every part: for what
the detector decides alone, which has not learned from these pictures.
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from table import save, show, verdict

from tasks.models import facemask, weights
from tasks.settings import settings
from tasks.training.facemask.data import BARE, MASK, WRONG, overlap, portraits, read, scenes
from workers.gpu.batcher import Batcher

SIZES = ((20, 32), (32, 64), (64, 10_000))
LEAST = 20
MARGINS = (0.0, 0.15)
"""Around a face that a picture is cut to, as shares of its longer side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json")
    parser.add_argument("--split", default="test", choices=("test", "validation", "all"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = facemask.MODEL
    files = {k: weights.fetch(w, settings().weights_path) for k, w in model.weights.items()}
    session = model.load(files, "cpu")
    figures = _scenes(asked.data, asked.split, session) | _portraits(
        asked.data, asked.split, session
    )
    figures |= _filled(asked.data, asked.split, session) | _costs(asked.data, session)
    goals = {"facemask_found_right": 0.93, "no_facemask_found_right": 0.93, "portraits_right": 0.97}
    for name, goal in goals.items():
        verdict(name, figures[name], goal, at_most=False)
    verdict("false_per_image", figures["false_per_image"], 0.2)
    verdict("cpu_ms_640_five_faces", figures["cpu_ms_640_five_faces"], 250)
    save("facemask", figures)


def faces_of(image: np.ndarray, session: Any) -> list[dict[str, Any]]:
    """What the model answers, in pixels of the image."""
    prepared = facemask.preprocess(image, facemask.Facemask())
    [output] = facemask.infer(session, torch.from_numpy(prepared)[None])
    data = facemask.postprocess(output.numpy(), image, facemask.Facemask(), ()).data
    return [face for face in data["faces"] if face["score"] >= facemask.SHOWN_FROM]


def _scenes(data: Path, split: str, session: Any) -> dict[str, float]:
    counted: Counter[tuple[int, int, str]] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    images, overlaps = 0, []
    for path, of, annotated in scenes(data):
        if split not in (of, "all"):
            continue
        images += 1
        faces = faces_of(read(path), session)
        boxes = [np.array(face["box"], np.float32) for face in faces]
        for box, label in annotated:
            side = float(min(box[2] - box[0], box[3] - box[1]))
            if label not in (MASK, BARE) or side < LEAST:
                continue
            best = max(range(len(boxes)), key=lambda k: overlap(boxes[k], box), default=None)
            hit = best is not None and overlap(boxes[best], box) >= 0.4
            answered = faces[best]["label"] if hit and best is not None else "missed"
            if hit and best is not None:
                overlaps.append(overlap(boxes[best], box))
            size = next(k for k, (low, high) in enumerate(SIZES) if low <= side < high)
            counted[(label, size, answered)] += 1
        answers.update(_verdict(face, annotated) for face in faces)
    print(f"found boxes overlap the annotated ones by {np.mean(overlaps):.2f} on average")
    figures = _precision(answers)
    figures["mean_overlap"] = round(float(np.mean(overlaps)), 3)
    false = sum(answers[label, "no face"] for label in facemask.LABELS)
    return _table(counted, false, images) | figures


def _verdict(face: dict[str, Any], annotated: Any) -> tuple[str, str]:
    """What an answered box is called, and whether that is right."""
    box = np.array(face["box"], np.float32)
    if min(box[2] - box[0], box[3] - box[1]) < LEAST:
        return face["label"], "small"
    common, label = max(((overlap(box, it), of) for it, of in annotated), default=(0.0, BARE))
    if common < 0.3:
        return face["label"], "no face"
    if label == WRONG and face["label"] == facemask.LABELS[1]:
        return face["label"], "worn incorrectly"
    right = (face["label"] == facemask.LABELS[1]) == (label == BARE)
    return face["label"], "right" if right else "wrong"


def _precision(answers: Counter[tuple[str, str]]) -> dict[str, float]:
    figures = {}
    for label in facemask.LABELS:
        right, wrongly = answers[label, "right"], answers[label, "worn incorrectly"]
        mistakes = ("wrong", "no face", "worn incorrectly")
        total = right + sum(answers[label, verdict] for verdict in mistakes)
        print(
            f"{total} boxes of {LEAST} px and more are called {label}: {right} right; "
            f"{wrongly} of the others are masks that are worn incorrectly"
        )
        figures[f"{label.replace(' ', '_')}_precision"] = round(right / max(1, total), 4)
    return figures


def _table(counted: Counter[tuple[int, int, str]], false: int, images: int) -> dict[str, float]:
    figures: dict[str, float] = {"images": images, "false_per_image": round(false / images, 3)}
    rows = []
    for label, name in ((MASK, "facemask"), (BARE, "no facemask")):
        for size, (low, high) in enumerate(SIZES):
            counts = {t: counted[(label, size, t)] for t in ("facemask", "no facemask", "missed")}
            rows.append([name, f"{low}..{high if high < 9999 else ''}", *counts.values()])
        total = sum(n for (kind, _, _), n in counted.items() if kind == label)
        right = sum(n for (kind, _, t), n in counted.items() if kind == label and t == name)
        figures[f"{name.replace(' ', '_')}_faces"] = total
        figures[f"{name.replace(' ', '_')}_found_right"] = round(right / total, 4)
        low, high = _interval(right, total)
        print(f"{name}: {right} of {total} found and right; 95 % interval {low:.1%} to {high:.1%}")
    header = ["face is", "px", "called facemask", "called no facemask", "missed"]
    show(f"{images} scenes, {false} false boxes", header, rows)
    return figures


def _interval(right: int, total: int) -> tuple[float, float]:
    """What a share may be, 95 times in 100, for all that so few cases tell (Wilson)."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    wide = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / 4 / total**2) ** 0.5
    return middle - wide, middle + wide


def _portraits(data: Path, split: str, session: Any) -> dict[str, float]:
    counted: Counter[tuple[str, str]] = Counter()
    for path, of, label in portraits(data):
        if split in (of, "all"):
            faces = faces_of(read(path), session)
            largest = max(
                faces,
                key=lambda f: (f["box"][2] - f["box"][0]) * f["score"],
                default={"label": "missed"},
            )
            counted[(facemask.LABELS[label], largest["label"])] += 1
    rows = [
        [label, *(counted[(label, answered)] for answered in (*facemask.LABELS, "missed"))]
        for label in facemask.LABELS
    ]
    header = ["face is", "called facemask", "called no facemask", "missed"]
    show("portraits of one person", header, rows)
    right = sum(counted[(label, label)] for label in facemask.LABELS)
    return {
        "portraits": counted.total(),
        "portraits_right": round(right / counted.total(), 4),
        "portraits_missed": sum(counted[(label, "missed")] for label in facemask.LABELS),
    }


def _filled(data: Path, split: str, session: Any) -> dict[str, float]:
    """Portraits cut to the face that is found in the whole of them, and to a little more."""
    counted: Counter[tuple[float, str]] = Counter()
    for path, of, _ in portraits(data):
        image = read(path)
        faces = faces_of(image, session) if split in (of, "all") else []
        for margin in MARGINS if faces else ():
            cut, face = cut_to(image, faces[0]["box"], margin)
            found = [
                overlap(np.array(it["box"], np.float32), face) for it in faces_of(cut, session)
            ]
            counted[margin, "found" if max(found, default=0) >= 0.4 else "missed"] += 1
            counted[margin, "beside"] += sum(common < 0.4 for common in found)
    words = ("found", "missed", "beside")
    rows = [[f"{margin:.0%}", *(counted[margin, word] for word in words)] for margin in MARGINS]
    show("portraits cut to their face", ["margin", *words[:2], "boxes elsewhere"], rows)
    return {
        f"filled_{margin * 100:.0f}_{word}": counted[margin, word]
        for margin in MARGINS
        for word in words
    }


def cut_to(image: np.ndarray, box: Any, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """What is in a box and around it, by a share of its longer side, and where the box is then."""
    more = margin * max(box[2] - box[0], box[3] - box[1])
    left, top = (max(0, round(side - more)) for side in box[:2])
    right, bottom = (round(side + more) for side in box[2:])
    moved = np.array(box, np.float32) - np.array([left, top, left, top], np.float32)
    return np.ascontiguousarray(image[top:bottom, left:right]), moved


def _costs(data: Path, session: Any) -> dict[str, float]:
    """CPU ms on one thread, per stage, of a picture with about five faces."""
    five = min(
        (path for path, _, annotated in scenes(data) if 4 <= len(annotated) <= 6),
        key=lambda path: path.name,
    )
    image, rows, figures, params = read(five), [], {}, facemask.Facemask()
    for name, side in (("640", 640), ("1280", 1280)):
        large = facemask.geometry.resize(image, side * image.shape[0] // image.shape[1], side)
        prepared, pre_ms = _timed(lambda i=large: facemask.preprocess(i, params))
        batch = torch.from_numpy(prepared)[None]
        [output], infer_ms = _timed(lambda b=batch: facemask.infer(session, b))
        array = output.numpy()
        answer, post_ms = _timed(lambda i=large, a=array: facemask.postprocess(a, i, params, ()))
        faces = len(answer.data["faces"])
        rows.append([name, faces, *(f"{ms:.0f}" for ms in (pre_ms, infer_ms, post_ms))])
        figures[f"cpu_ms_{name}_five_faces"] = round(pre_ms + infer_ms + post_ms, 1)
        batched_ms = _on_batcher(prepared, session)
        rows[-1].append(f"{batched_ms:.0f}")
        figures[f"batcher_cpu_ms_{name}"] = round(batched_ms, 1)
    header = ["longer side", "faces", "pre ms", "infer ms", "post ms", "infer in batches of 8"]
    show("one thread, CPU ms per image", header, rows)
    return figures


def _on_batcher(prepared: np.ndarray, session: Any) -> float:
    """CPU ms per image of 16 images handed to the batcher at once."""

    def run(bin: object, items: Any) -> Any:
        return facemask.infer(session, torch.from_numpy(np.stack(items)))

    batcher = Batcher(run, lambda bin: facemask.MODEL.max_batch)
    began = time.process_time()
    for future in [batcher.submit("bin", prepared) for _ in range(16)]:
        future.result(120)
    spent_ms = (time.process_time() - began) * 1000
    batcher.stop()
    return spent_ms / 16


def _timed(work: Any) -> tuple[Any, float]:
    work()
    began = time.process_time()
    for _ in range(3):
        result = work()
    return result, (time.process_time() - began) * 1000 / 3


if __name__ == "__main__":
    main()
