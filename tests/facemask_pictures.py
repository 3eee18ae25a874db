"""A few pictures in the form that `pixelmill train facemask` reads."""

import json
from pathlib import Path

import cv2

from tasks.training.facemask.data import split_of

PHOTO = Path(__file__).parent / "golden" / "astronaut.jpg"


def write_pictures(data: Path) -> None:
    """Two pictures of a face to train with, two to validate with, and a portrait."""
    for folder in ("images", "crops/facemask", "crops/no_facemask"):
        (data / folder).mkdir(parents=True)
    image = cv2.imread(str(PHOTO))
    height, width = image.shape[:2]
    face = [0.36 * width, 0.12 * height, 0.165 * width, 0.22 * height]
    names = [f"images/{number}.jpg" for number in range(60)]
    chosen = [
        name
        for part in ("train", "validation")
        for name in [name for name in names if split_of(name) == part][:2]
    ]
    crops = {"crops/no_facemask/0.jpg": "0.jpg"}
    for name in (*chosen, *crops):
        cv2.imwrite(str(data / name), image)
    (data / "crops" / "sources.json").write_text(json.dumps(crops))
    pictures = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, name in enumerate(chosen)
    ]
    faces = [
        {"image_id": number, "category_id": 1 + number % 2, "bbox": face}
        for number in range(len(chosen))
    ]
    annotations = {"images": pictures, "annotations": faces}
    (data / "annotations.json").write_text(json.dumps(annotations))
