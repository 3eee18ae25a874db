"""What a photo says of its maker, place and camera is in nothing that is kept longer than it."""

import io
import itertools
from collections.abc import Iterator

import everything
import httpx
import pytest
from PIL import Image
from stack import Stack

SECRETS = (b"MAKER-7f3a", b"OWNER-7f3a", b"XMP-7f3a", b"COMMENT-7f3a", b"GPS-7f3a")
FORMATS = {"image/png": "PNG", "image/webp": "WEBP", "image/avif": "AVIF", "image/jpeg": "JPEG"}
MAKE, ARTIST, GPS = 271, 315, 0x8825
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""What every scanner for viruses takes for one, by agreement of their makers."""

_colours = itertools.count()


def photo() -> bytes:
    """A JPEG with EXIF, GPS, XMP and a comment, that nobody has sent before."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[MAKE], exif[ARTIST] = "MAKER-7f3a", "OWNER-7f3a"
    exif.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 7.0), 3: "E", 4: (13.0, 24.0, 9.0)})
    exif.get_ifd(GPS)[27] = b"GPS-7f3a"
    picture = Image.new("RGB", (320, 240), (next(_colours), 120, 90))
    picture.paste((250, 240, 230), (100, 60, 220, 200))
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>XMP-7f3a</x:xmpmeta>"
    picture.save(out, "JPEG", exif=exif, xmp=xmp, comment=b"COMMENT-7f3a")
    assert all(secret in out.getvalue() for secret in SECRETS)
    return out.getvalue()


@pytest.fixture
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=90) as client:
        yield client


@pytest.mark.parametrize(
    "asked",
    [
        {"output": "alpha,mask,preview,edge_colours,cutout"},
        {"output": "cutout-png,cutout-webp,cutout-avif,cutout-jpeg"},
        {"output": "cutout-png,cutout-webp,cutout-avif,cutout-jpeg", "colour": "keep"},
        {"output": "cutout", "background": "blur", "format": "jpeg"},
    ],
    ids=lambda asked: "-".join(asked.values())[-40:],
)
def test_no_output_has_metadata_of_the_photo(visitor: httpx.Client, asked: dict[str, str]) -> None:
    answer = visitor.post("/api/v1/predict/matting?wait=90", params=asked, content=photo())
    result = answer.raise_for_status().json()["result"]

    pictures = [*result["objects"].values(), result["thumbnail"]]
    assert len(pictures) == 1 + len(asked["output"].split(","))
    for picture in pictures:
        data = httpx.get(picture["url"]).content
        opened = Image.open(io.BytesIO(data))
        assert opened.format == FORMATS[picture["type"]]
        assert not opened.getexif() and not {"exif", "xmp", "comment"} & set(opened.info)
        assert not [secret for secret in SECRETS if secret in data]


def test_a_virus_in_a_photo_is_in_no_output(visitor: httpx.Client) -> None:
    infected = photo().replace(b"COMMENT-7f3a", EICAR[:12]) + EICAR
    asked = {"output": "alpha,preview,cutout-png,cutout-webp,cutout-jpeg", "background": "blur"}

    answer = visitor.post("/api/v1/predict/matting?wait=90", params=asked, content=infected)

    result = answer.raise_for_status().json()["result"]
    for picture in [*result["objects"].values(), result["thumbnail"]]:
        data = httpx.get(picture["url"]).content
        assert EICAR not in data and EICAR[:12] not in data


def test_nothing_that_outlives_the_upload_has_it(visitor: httpx.Client, stack: Stack) -> None:
    job = visitor.post("/api/v1/predict/toy?wait=90", content=photo()).raise_for_status().json()
    asked = {"object": next(iter(job["result"]["objects"]))}
    visitor.post(f"/api/v1/jobs/{job['id']}/shares", json=asked).raise_for_status()

    kept = itertools.chain(
        everything.in_redis(stack.client("state")),
        everything.in_redis(stack.client("cache")),
        everything.in_folder(stack.folder / "s3" / "pixelmill" / "out"),
    )

    assert not [text[:100] for text in kept if any(secret in text for secret in SECRETS)]
