"""The pictures of a result: made from the image that was worked on, or from the whole upload."""

import io
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage import object_keys
from storage.jobs.spec import RunRef, Spec
from storage.s3.objects import S3Objects
from tasks import pictures, preprocess, results
from tasks.errors import BadInput, ModelFailure, WrongBytes
from tasks.models.base import Output
from tasks.pictures import Made
from tasks.work import NO_UPLOAD, Work

pytest_plugins = ["inprocess"]

Prepare = Callable[..., Callable[..., Made]]


def photo(mode: str, width: int = 64, height: int = 48) -> bytes:
    """A picture of noise, half transparent where its mode has an alpha."""
    noise = np.random.default_rng(1).integers(0, 256, (height, width, len(mode)), np.uint8)
    if mode == "RGBA":
        noise[..., 3] = 128
    file = io.BytesIO()
    Image.fromarray(noise, mode).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def store(in_process: None, s3: S3Objects) -> Callable[[bytes], str]:
    """Stores the bytes as an upload of ada; returns its id."""

    def put(data: bytes) -> str:
        upload = secrets.token_hex(16)
        s3.put(object_keys.upload_object("ada", upload), data, "image/png")
        return upload

    return put


@pytest.fixture
def made(store: Callable[[bytes], str]) -> Callable[..., Made]:
    """The pictures of a photo whose whole area is the subject."""

    def make(data: bytes, *names: str, **params: Any) -> Made:
        spec = Spec(secrets.token_hex(32), "ada", "matting", params, names, store(data), "w", "c")
        work = Work(RunRef(spec.request_key, 1), spec)
        begun = preprocess.prepare(work, results.cache_batch())
        assert callable(begun) and begun() is None
        image = np.asarray(work.array("image"), np.uint8)
        matte = np.full(image.shape[:2], 255, np.uint8)
        output = Output(images={"alpha": matte})
        return pictures.made(work, output, image, work.upload_info())

    return make


@pytest.mark.parametrize(
    ("mode", "width", "names", "params", "kept"),
    [
        ("RGB", 2600, ["cutout"], {}, True),
        ("RGB", 2600, ["cutout"], {"max_side": 2048}, False),
        ("RGB", 2600, ["preview"], {}, False),
        ("RGB", 64, ["cutout"], {}, False),
        ("RGB", 64, ["cutout"], {"colour": "keep"}, True),
        ("RGBA", 64, ["cutout"], {}, True),
    ],
)
def test_bytes_that_postprocess_needs_are_read_from_s3_once(
    store: Callable[[bytes], str],
    s3: S3Objects,
    mode: str,
    width: int,
    names: list[str],
    params: Mapping[str, Any],
    kept: bool,
) -> None:
    data = photo(mode, width, 90)
    upload = store(data)
    spec = Spec(secrets.token_hex(32), "ada", "matting", dict(params), names, upload, "w", "c")
    work = Work(RunRef(spec.request_key, 1), spec)
    begun = preprocess.prepare(work, results.cache_batch())
    assert callable(begun) and begun() is None

    s3.delete(object_keys.upload_object("ada", upload))

    if kept:
        assert work.file() == data
    else:
        with pytest.raises(WrongBytes):
            work.file()


def size(made: Made, name: str) -> tuple[int, int]:
    return made.pictures[name].width, made.pictures[name].height


def opened(made: Made, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(made.pictures[name].data)))


def test_pictures_have_the_size_of_an_upload_that_was_worked_on_smaller(
    made: Callable[..., Made],
) -> None:
    cut = made(photo("RGB", 2600, 90), "alpha", "cutout", "preview")

    assert size(cut, "alpha") == size(cut, "cutout") == (2600, 90)
    assert size(cut, "preview") == (1024, 35)


def test_an_upright_upload_that_is_narrower_than_what_is_worked_on_has_its_size_too(
    made: Callable[..., Made],
) -> None:
    data = photo("RGB", 90, 2600)

    cut = made(data, "cutout-png")

    assert size(cut, "cutout") == (90, 2600)
    original = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(opened(cut, "cutout")[..., :3].astype(int) - original).mean() < 1


def test_the_transparency_of_an_upload_stays(made: Callable[..., Made]) -> None:
    cut = made(photo("RGBA"), "alpha", "cutout-png")

    assert (opened(cut, "alpha") == 128).all()
    assert (opened(cut, "cutout")[..., 3] == 128).all()


def test_only_the_pictures_asked_for_are_made(made: Callable[..., Made]) -> None:
    assert set(made(photo("RGB"), "mask").pictures) == {"mask"}


def test_the_first_of_several_cut_outs_is_called_cutout(made: Callable[..., Made]) -> None:
    cut = made(photo("RGB"), "cutout-webp", "cutout-png")

    types: Mapping[str, str] = {name: made.media_type for name, made in cut.pictures.items()}
    assert types == {"cutout": "image/png", "cutout-webp": "image/webp"}


def test_another_upload_fills_the_background(
    made: Callable[..., Made], store: Callable[[bytes], str]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (30, 30), (1, 200, 3)).save(file, "PNG")

    cut = made(photo("RGBA"), "cutout-png", background=store(file.getvalue()))

    seen = opened(cut, "cutout")
    assert seen.shape == (48, 64, 3)
    assert abs(seen[..., 1].mean() - (200 + 127.5) / 2) < 8


def test_a_background_that_is_gone_is_named(made: Callable[..., Made]) -> None:
    with pytest.raises(WrongBytes, match="is gone"):
        made(photo("RGB"), "cutout", background="f" * 32)


def test_a_background_that_is_no_picture_says_so(
    made: Callable[..., Made], store: Callable[[bytes], str]
) -> None:
    with pytest.raises(BadInput, match="The background cannot be used"):
        made(photo("RGB"), "cutout", background=store(b"no picture"))


def test_a_crop_is_told_in_pixels_of_the_upload(made: Callable[..., Made]) -> None:
    assert "crop" not in made(photo("RGB"), "cutout", crop="subject").data, "all of it is shown"


def test_a_model_of_mattes_that_returns_none_is_at_fault(made: Callable[..., Made]) -> None:
    spec = Spec(secrets.token_hex(32), "ada", "matting", {}, ["alpha"], "u", "w", "c")
    info = NO_UPLOAD | {"width": 4, "height": 4}

    with pytest.raises(ModelFailure, match="no `alpha`"):
        pictures.made(
            Work(RunRef(spec.request_key, 1), spec),
            Output(),
            np.zeros((4, 4, 3), np.uint8),
            info,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(("params", "pillow"), [({}, "WEBP"), ({"format": "png"}, "PNG")])
def test_a_preview_has_the_format_that_is_asked_for_and_other_pictures_their_own(
    in_process: None, params: Mapping[str, Any], pillow: str
) -> None:
    spec = Spec(secrets.token_hex(32), "ada", "facemask", params, ["preview"], "u", "w", "c")
    work, image = Work(RunRef(spec.request_key, 1), spec), np.zeros((8, 9, 3), np.uint8)
    upload = {"width": 9, "height": 8, "has_alpha": False}

    output = Output(images={"preview": image, "detail": image})
    made = pictures.made(work, output, image, upload)  # type: ignore[arg-type]  # what is read

    kinds = {name: Image.open(io.BytesIO(file.data)).format for name, file in made.pictures.items()}
    assert kinds == {"preview": pillow, "detail": "WEBP"}
