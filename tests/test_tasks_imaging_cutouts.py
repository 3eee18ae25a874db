"""Cut-outs at the upload's size: seamless, in its own colours, and as they were asked for."""

import io
from dataclasses import replace

import corpus
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tasks.imaging import codec, cutouts, edge_colours, geometry, guard
from tasks.imaging.cutouts import Look, Subject
from tasks.imaging.enlarge import Enlarger
from tasks.imaging.frame import Frame
from tasks.imaging.parts import enlarged
from tasks.imaging.sinks import Encoded, sink_of

SUBJECT, GROUND = (220, 60, 40), (40, 90, 200)


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo of a disc with a soft edge, and its true alpha."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius, edge = 0.3 * min(height, width), max(1.0, min(height, width) / 400)
    distance = np.hypot(y - height / 2, x - width / 2) - radius
    alpha = np.clip(0.5 - distance / (2 * edge), 0, 1)
    grain = np.random.default_rng(3).normal(0, 4, (height, width, 3))
    photo = alpha[..., None] * SUBJECT + (1 - alpha[..., None]) * GROUND + grain
    return np.clip(photo, 0, 255).astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)


def small(photo: np.ndarray, alpha: np.ndarray, side: int) -> Subject:
    size = geometry.fit(*alpha.shape, side)
    return Subject(geometry.resize(photo, *size), geometry.resize(alpha, *size))


def opened(picture: Encoded, mode: str = "") -> np.ndarray:
    image = Image.open(io.BytesIO(picture.data))
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert(mode) if mode else image)


def made(photo: np.ndarray, subject: Subject, name: str, **look: object) -> Encoded:
    wanted = Look(**look)  # type: ignore[arg-type]
    frame = cutouts.frame_of(subject, photo.shape[:2], wanted)
    pixels = geometry.resize(photo, frame.height, frame.width)
    return cutouts.compose([pixels], subject, frame, wanted, [name])[name]


@settings(deadline=None, max_examples=30)
@given(st.integers(300, 700), st.integers(300, 700), st.integers(40, 200), st.integers(1, 90))
def test_strips_of_an_enlarged_matte_meet_without_seams(height, width, side, rows):
    photo, alpha = scene(height, width)
    subject = small(photo, alpha, side)
    enlarger = Enlarger(subject.matte, subject.photo, height, width)

    strips = [enlarger.strip(top, photo[top : top + rows]) for top in range(0, height, rows)]

    whole = enlarger.strip(0, photo)
    assert np.abs(np.vstack(strips).astype(int) - whole).max() <= 1


def test_an_enlarged_matte_follows_the_edges_of_the_large_photo():
    photo, alpha = scene(2400, 3200)
    subject = small(photo, alpha, 800)

    fine = Enlarger(subject.matte, subject.photo, 2400, 3200).strip(0, photo)

    plain = cv2.resize(subject.matte, (3200, 2400), interpolation=cv2.INTER_LINEAR)
    edge = (cv2.dilate(alpha, np.ones((9, 9))) > 0) & (cv2.erode(alpha, np.ones((9, 9))) < 255)
    wrong, before = (np.abs(made.astype(int) - alpha)[edge].mean() for made in (fine, plain))
    assert wrong < 0.8 * before
    assert (fine[alpha == 0] < 16).all() and (fine[0] == 0).all()


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 5), st.integers(1, 30))
def test_an_enlarged_part_is_that_of_the_whole(height, width, factor, top):
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    size = height * factor + 3, width * factor + 1
    whole = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    top = min(top, size[0] - 1)

    part = enlarged(picture, (slice(top, size[0]), slice(1, size[1])), size)

    assert np.abs(part.astype(int) - whole[top:, 1:]).max() <= 1


def test_a_cut_out_has_the_uploads_size_and_the_subjects_colours():
    photo, alpha = scene(900, 1200)

    cutout = opened(made(photo, small(photo, alpha, 600), "cutout-png"))

    assert cutout.shape == (900, 1200, 4)
    soft = (cutout[..., 3] > 90) & (cutout[..., 3] < 160)
    assert np.abs(cutout[soft][:, :3].mean(0) - SUBJECT).max() < 30, "no ground at the edge"
    assert not cutout[cutout[..., 3] == 0].any()


def test_max_side_makes_pictures_smaller_and_never_larger():
    photo, alpha = scene(300, 400)
    subject = Subject(photo, alpha)

    assert opened(made(photo, subject, "alpha", max_side=200)).shape == (150, 200)
    assert opened(made(photo, subject, "alpha", max_side=4000)).shape == (300, 400)


@pytest.mark.parametrize("form", ["png", "webp", "avif", "jpeg"])
def test_the_format_is_the_one_asked_for(form):
    photo, alpha = scene(120, 160)
    background = "#ffffff" if form == "jpeg" else ""

    picture = made(photo, Subject(photo, alpha), "cutout", format=form, background=background)

    assert picture.media_type == f"image/{form}"
    assert Image.open(io.BytesIO(picture.data)).format == form.upper()


def test_a_jpeg_without_a_background_is_on_white():
    photo, alpha = scene(120, 160)

    picture = opened(made(photo, Subject(photo, alpha), "cutout", format="jpeg"))

    assert picture.shape == (120, 160, 3)
    assert picture[2, 2].min() > 250


def test_a_colour_fills_the_background():
    photo, alpha = scene(120, 160)

    cutout = opened(made(photo, Subject(photo, alpha), "cutout-png", background="#10f020"))

    assert cutout[2, 2].tolist() == [16, 240, 32]
    assert np.abs(cutout[60, 80].astype(int) - SUBJECT).max() < 20


def test_a_blurred_background_is_the_ground_without_a_halo_of_the_subject():
    photo, alpha = scene(400, 600)

    cutout = opened(made(photo, Subject(photo, alpha), "cutout-png", background="blur"))

    outside = cutout[alpha == 0].astype(int)
    assert np.abs(outside - GROUND).max() < 12
    assert np.abs(cutout[200, 300].astype(int) - SUBJECT).max() < 20


def test_a_picture_as_background_covers_the_frame_from_its_middle():
    photo, alpha = scene(200, 400)
    backdrop = np.zeros((300, 300, 3), np.uint8)
    backdrop[:, 150:] = (255, 255, 0)
    look = Look(background="f" * 32)
    subject = Subject(photo, alpha)
    frame = cutouts.frame_of(subject, (200, 400), look)

    cut = cutouts.compose([photo], subject, frame, look, ["cutout-png"], backdrop)["cutout-png"]

    shown = opened(cut)
    assert shown[5, 5].tolist() == [0, 0, 0] and shown[195, 395].tolist() == [255, 255, 0]


def test_a_crop_shows_the_subject_with_its_margin():
    photo, alpha = scene(400, 600)
    subject = Subject(photo, alpha)

    close = cutouts.frame_of(subject, (400, 600), Look(crop="subject", margin=0))
    wide = cutouts.frame_of(subject, (400, 600), Look(crop="subject", margin=0.1))

    assert close.right - close.left == pytest.approx(240, abs=6)
    assert close.left - wide.left == pytest.approx(24, abs=2)
    cutout = opened(made(photo, subject, "cutout-png", crop="subject", margin=0))
    assert cutout.shape[:2] == (close.bottom - close.top, close.right - close.left)
    assert cutout[cutout.shape[0] // 2, 2:-2, 3].min() > 0


def test_nothing_found_is_not_cropped():
    photo, alpha = scene(40, 60)
    nothing = Subject(photo, np.zeros_like(alpha))

    assert cutouts.frame_of(nothing, (40, 60), Look(crop="subject")) == Frame(0, 0, 60, 40, 40, 60)


def test_the_preview_is_at_most_1024_and_shows_the_crop():
    photo, alpha = scene(1500, 2000)

    assert opened(made(photo, small(photo, alpha, 2000), "preview")).shape == (768, 1024, 4)
    cropped = opened(made(photo, small(photo, alpha, 2000), "preview", crop="subject"))
    assert cropped.shape[0] == pytest.approx(cropped.shape[1], abs=3)


def test_the_photo_is_the_upload_as_it_was_read_and_shows_the_crop():
    photo, alpha = scene(300, 400)
    subject = small(photo, alpha, 200)

    assert (opened(made(photo, subject, "photo-png")) == photo).all()
    shown = opened(made(photo, subject, "photo"))
    assert shown.shape == (150, 200, 3)
    assert np.abs(shown.astype(int) - geometry.resize(photo, 150, 200)).mean() <= 3
    cropped = made(photo, subject, "photo-png", crop="subject", max_side=200)
    assert opened(cropped).shape == opened(made(photo, subject, "photo", crop="subject")).shape


def test_edge_colours_give_the_cut_outs_colours():
    photo, alpha = scene(300, 400)
    subject = Subject(photo, alpha)
    stacked = opened(made(photo, subject, "edge_colours"), "RGB")
    front, back = (
        cv2.resize(part, (400, 300), interpolation=cv2.INTER_LINEAR).astype(float)
        for part in np.vsplit(stacked, 2)
    )
    a = alpha[..., None] / 255

    colours = front + a * (photo - a * front - (1 - a) * back)

    cutout = opened(made(photo, subject, "cutout-png"))
    soft = (alpha > 0) & (alpha < 255)
    assert np.abs(np.clip(colours, 0, 255) - cutout[..., :3])[soft].max() <= 1.01


@pytest.mark.parametrize(("height", "width", "channels"), [(70, 90, 1), (70, 90, 3), (70, 90, 4)])
def test_a_png_that_is_written_row_by_row_is_a_png(monkeypatch, height, width, channels):
    monkeypatch.setattr("tasks.imaging.sinks._BUFFERED", 0)
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)
    sink = sink_of("png", height, width, channels)

    for top in range(0, height, 16):
        sink.write(pixels[top : top + 16])

    assert (opened(sink.close()).reshape(pixels.shape) == pixels).all()


# The same from the bytes of an upload, in the sandbox


def from_bytes(data: bytes, matte: np.ndarray, *names: str, keeps: bool = False, **look: object):
    wanted = Look(**look)  # type: ignore[arg-type]
    composed = codec.compose(data, guard.check(data), matte, None, wanted, names, keeps)
    return {name: opened(picture) for name, picture in composed.pictures.items()}


def test_half_transparent_colours_stay_what_they_are():
    pixels = np.full((60, 80, 4), (200, 60, 40, 128), np.uint8)
    data = corpus.save(Image.fromarray(pixels), "PNG")

    cut = from_bytes(data, np.full((60, 80), 255, np.uint8), "cutout-png")

    assert np.abs(cut["cutout-png"][30, 40].astype(int) - (200, 60, 40, 128)).max() <= 1


@pytest.mark.parametrize("own", [128, 255])
def test_the_photo_of_a_transparent_upload_is_transparent_without_what_that_hides(own):
    pixels = np.full((60, 80, 4), (200, 60, 40, own), np.uint8)
    pixels[:9, :, 3] = 0
    data = corpus.save(Image.fromarray(pixels), "PNG")

    photo = from_bytes(data, np.zeros((60, 80), np.uint8), "photo", "photo-png")

    assert photo["photo-png"][4, 40].tolist() == [0, 0, 0, 0]
    assert photo["photo-png"][30, 40].tolist() == [200, 60, 40, own]
    assert np.abs(photo["photo"][30, 40].astype(int) - (200, 60, 40, own)).max() <= 3


def test_a_matte_and_the_uploads_own_alpha_are_multiplied():
    pixels = np.full((60, 80, 4), (200, 60, 40, 128), np.uint8)
    data = corpus.save(Image.fromarray(pixels), "PNG")

    made = from_bytes(data, np.full((60, 80), 128, np.uint8), "alpha", "mask")

    assert abs(int(made["alpha"][30, 40]) - 64) <= 1
    assert (made["alpha"] == made["mask"]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_cut_outs_of_a_turned_upload_are_upright(orientation, kind):
    photo, alpha = scene(240, 320)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}[kind]
    data = corpus.save(Image.fromarray(photo), kind, exif=exif, **options)
    decoded = codec.decode(data, guard.check(data), 160)
    matte = geometry.resize(geometry.upright(alpha, orientation), *decoded.image.shape[:2])

    cutout = from_bytes(data, matte, "cutout-png")["cutout-png"]

    upright = geometry.upright(photo, orientation)
    assert cutout.shape[:2] == upright.shape[:2]
    solid = cutout[..., 3] == 255
    assert solid.any() and np.abs(cutout[..., :3].astype(int) - upright)[solid].mean() < 6


def test_kept_colours_come_with_their_profile():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and green exchanged: what the values mean is another colour than in sRGB.
    data = corpus.save(
        Image.new("RGB", (64, 64), (200, 60, 40)), "PNG", icc_profile=swapped(profile)
    )
    matte = np.full((64, 64), 255, np.uint8)

    made = codec.compose(data, guard.check(data), matte, None, Look(), ["cutout-png"], True)
    converted = from_bytes(data, matte, "cutout-png")["cutout-png"]

    kept = Image.open(io.BytesIO(made.pictures["cutout-png"].data))
    assert kept.info.get("icc_profile")
    assert np.asarray(kept)[32, 32, :3].tolist() == [200, 60, 40]
    assert converted[32, 32, 1] > converted[32, 32, 0]


def swapped(profile: bytes) -> bytes:
    """An RGB profile with the light of red and green exchanged, under another name."""
    changed = bytearray(profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")))
    places = {}
    for i in range(int.from_bytes(changed[128:132], "big")):
        entry = changed[132 + 12 * i : 144 + 12 * i]
        places[bytes(entry[:4])] = int.from_bytes(entry[4:8], "big") + 8
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    changed[red : red + 12], changed[green : green + 12] = (
        changed[green : green + 12],
        changed[red : red + 12],
    )
    return bytes(changed)


def test_a_picture_too_large_for_webp_is_a_png(monkeypatch):
    monkeypatch.setattr("tasks.imaging.sinks.LARGEST", 1000)
    photo, alpha = scene(60, 80)

    assert made(photo, Subject(photo, alpha), "cutout").media_type == "image/png"


def test_own_alpha_limits_the_crop():
    photo, alpha = scene(100, 100)
    own = np.zeros_like(alpha)
    own[:, :50] = 255
    subject = replace(Subject(photo, alpha), own=own)

    frame = cutouts.frame_of(subject, (100, 100), Look(crop="subject", margin=0))

    assert frame.right <= 50 and edge_colours.is_soft(alpha)
