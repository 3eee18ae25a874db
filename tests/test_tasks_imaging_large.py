"""The pictures of an upload of 64 megapixels are made in bounded memory, at its full size."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.imaging import codec, guard, sandbox
from tasks.imaging.cutouts import Look

SIZE = 8192, 6144
"""Width and height of what phones call 50 megapixels."""
LIMIT = 64_000_000
MAX_MIB = 350


@pytest.fixture(scope="module")
def upload() -> bytes:
    """A JPEG with something to see in it, as many pixels as are accepted."""
    width, height = SIZE[0], LIMIT // SIZE[0]
    rng = np.random.default_rng(64)
    small = rng.integers(0, 256, (height // 64, width // 64, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(out, "JPEG", quality=85)
    return out.getvalue()


@pytest.fixture
def peak_mib(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each child needed on top of what it was born with, the pictures it made included."""
    run = sandbox.run
    peaks: list[float] = []

    def measured(work, *given):
        answer, memory = run(work.replace(work.partition(":")[0], "measured"), *given)
        assert "error" not in answer, answer
        peaks.append(answer["peak_mib"])
        return answer, memory

    monkeypatch.setattr(sandbox, "run", measured)
    return peaks


@pytest.mark.parametrize("form", ["webp", "jpeg"])
def test_a_cut_out_and_alpha_of_64_megapixels_take_at_most_350_mib(upload, peak_mib, form):
    header = guard.check(upload)
    photo = codec.decode(upload, header).image
    down, across = np.mgrid[: photo.shape[0], : photo.shape[1]] / max(photo.shape) - 0.4
    matte = np.clip(255 * (20 - 80 * np.hypot(down, across)) + 128, 0, 255).astype(np.uint8)

    made = codec.compose(
        upload, header, matte, None, Look(format=form), ["cutout", "alpha"], photo=photo
    )

    sizes = {name: (picture.width, picture.height) for name, picture in made.pictures.items()}
    assert sizes == dict.fromkeys(["cutout", "alpha"], (header.width, header.height))
    print(f"peaks: {peak_mib} MiB")
    assert max(peak_mib) <= MAX_MIB
