"""The 200 pictures of `make bench-colour`, each with what it should look like."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

sys.path.insert(0, str(Path(__file__).parents[1]))

import colours
from colours import SPACES, Space

from tasks.imaging.cms import lcms

PICTURES = 200
SIZE = (48, 64)
Pixels = np.ndarray[Any, Any]
CODE_POINTS = {"p3": (12, 13), "bt2020": (9, 13), "linear": (1, 8), "gamma22": (1, 4)}
"""Those of the spaces that ITU-T H.273 has numbers for."""
BY_CHUNKS = ("apple", "linear", "gamma22", "adobe", "linear2020")
"""Those that gAMA and cHRM can state."""


@dataclass(frozen=True)
class Case:
    """One file and what it should look like."""

    format: str
    space: str
    stated: str
    data: bytes
    wanted: Pixels
    """H x W x 3, 0..1 in sRGB, over white."""
    in_chromium: bool = True
    is_hdr: bool = False


def picture(seed: int) -> Pixels:
    """H x W x 3, 0..1: soft colours over the whole range, a dark ramp and pure colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-0.2, 1.2, (5, 6, 3))
    values = np.clip(cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    values[:8] = np.linspace(0, 0.15, SIZE[1])[None, :, None]
    values[-8:] = np.repeat(np.eye(3)[rng.permutation(3)], [21, 21, 22], axis=0)[None]
    return values


def alpha(seed: int) -> Pixels:
    """H x W, 0..1: opaque above, a ramp below."""
    ramp = np.linspace(0.05 * (seed % 5), 1, SIZE[1])
    return np.repeat([np.ones(SIZE[1]), ramp], SIZE[0] // 2, axis=0)


def stepped(values: Pixels, depth: Any) -> Pixels:
    """Values 0..1 as whole numbers of 8 or 16 bits."""
    return np.rint(values * np.iinfo(depth).max).astype(depth)


def fractions(pixels: Pixels) -> Pixels:
    """The inverse of `stepped`."""
    return pixels / np.iinfo(pixels.dtype).max


def over_white(values: Pixels, opacity: Pixels | None) -> Pixels:
    return values if opacity is None else 1 - (1 - values) * opacity[..., None]


def by_pillow(data: bytes, mode: str) -> Pixels:
    with Image.open(io.BytesIO(data)) as opened:
        return fractions(np.asarray(opened.convert(mode)))


def exactly(values: Pixels, profile: bytes, mode: str) -> Pixels:
    """By LittleCMS, colour by colour; Pillow lets it do 8 bits only."""
    if values.shape[2] == 3:
        convert = lcms.Transform(
            profile, "RGB", np.float32, target_depth=np.float32, way=lcms.EXACT
        )
        return np.clip(convert(values), 0, 1)
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    flags = ImageCms.Flags.NOOPTIMIZE
    transform = ImageCms.buildTransform(source, target, mode, "RGB", flags=flags)
    given = Image.fromarray(stepped(values, np.uint8), mode)
    return fractions(np.asarray(ImageCms.applyTransform(given, transform)))


def saved(pixels: Pixels, kind: str, **options: Any) -> bytes:
    """8 bits by Pillow, 16 by OpenCV."""
    if pixels.dtype == np.uint16:
        order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
        code = order[pixels.shape[2] if pixels.ndim == 3 else 2]
        return cv2.imencode(
            f".{kind.lower()}", pixels if code is None else cv2.cvtColor(pixels, code)
        )[1].tobytes()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}, "BMP": {}}
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}


def profiles(name: str) -> dict[str, bytes]:
    """The ways in which a profile says the same."""
    space = SPACES[name]
    return {"v4": space.icc(version=4), "v2": space.icc(version=2)}


def in_rgb() -> Iterator[Case]:
    """Every space by a profile, in every format, with and without an alpha."""
    seed = 0
    for name, space in SPACES.items():
        for stated, profile in profiles(name).items():
            for kind in ("JPEG", "WEBP", "AVIF"):
                seed += 1
                data = saved(
                    stepped(picture(seed), np.uint8), kind, **LOSSY[kind], icc_profile=profile
                )
                wanted = space.to_srgb(by_pillow(data, "RGB"))
                yield Case(f"{kind} 8", name, stated, data, wanted)
            for kind in ("PNG", "WEBP"):
                seed += 1
                values, opacity = stepped(picture(seed), np.uint8), stepped(alpha(seed), np.uint8)
                data = saved(
                    np.dstack([values, opacity]), kind, **LOSSLESS[kind], icc_profile=profile
                )
                wanted = over_white(space.to_srgb(fractions(values)), fractions(opacity))
                yield Case(f"{kind} 8 alpha", name, stated, data, wanted)


def in_16_bits() -> Iterator[Case]:
    """Every space in PNG of 16 bits, by a profile."""
    for seed, (name, space) in enumerate(SPACES.items(), start=1000):
        for stated, profile in profiles(name).items():
            values, opacity = stepped(picture(seed), np.uint16), stepped(alpha(seed), np.uint16)
            wanted = space.to_srgb(fractions(values))
            chunk = colours.iccp(profile)
            yield Case(
                "PNG 16", name, stated, colours.with_chunks(saved(values, "PNG"), chunk), wanted
            )
            data = colours.with_chunks(saved(np.dstack([values, opacity]), "PNG"), chunk)
            yield Case("PNG 16 alpha", name, stated, data, over_white(wanted, fractions(opacity)))


def by_numbers() -> Iterator[Case]:
    """cICP, gAMA and cHRM in PNG, nclx in AVIF, EXIF in JPEG."""
    for seed, depth in ((2000, np.uint8), (2001, np.uint16)):
        values = stepped(picture(seed), depth)
        plain, bits = saved(values, "PNG"), values.itemsize * 8
        for name, points in CODE_POINTS.items():
            data = colours.with_chunks(plain, (b"cICP", bytes([*points, 0, 1])))
            yield Case(f"PNG {bits}", name, "cICP", data, SPACES[name].to_srgb(fractions(values)))
        for name in BY_CHUNKS:
            space = SPACES[name]
            chunks = colours.gama(space.curve.numbers[0]), colours.chrm(space)
            data = colours.with_chunks(plain, *chunks)
            yield Case(f"PNG {bits}", name, "gAMA, cHRM", data, space.to_srgb(fractions(values)))
    for name, points in CODE_POINTS.items():
        plain = saved(stepped(picture(2002), np.uint8), "AVIF", **LOSSY["AVIF"])
        wanted = SPACES[name].to_srgb(by_pillow(plain, "RGB"))
        yield Case("AVIF 8", name, "nclx", colours.with_code_points(plain, *points), wanted)
    exif = b"Exif\0\0" + colours.exif()
    data = saved(stepped(picture(2003), np.uint8), "JPEG", **LOSSY["JPEG"], exif=exif)
    wanted = SPACES["adobe"].to_srgb(by_pillow(data, "RGB"))
    yield Case("JPEG 8", "adobe", "EXIF", data, wanted, in_chromium=False)


def in_grey() -> Iterator[Case]:
    """Grey by a profile of grey, of RGB, and by gAMA."""
    curves = {"linear": colours.gamma(1.0), "gamma 1.8": colours.gamma(1.8), "L*": colours.L_STAR}
    for seed, (name, curve) in enumerate(curves.items(), start=3000):
        space = Space(name, colours.BT709, curve)
        for depth in (np.uint8, np.uint16):
            grey = stepped(picture(seed)[..., 1], depth)
            wanted = space.to_srgb(fractions(np.dstack([grey] * 3)))
            label = f"grey PNG {grey.itemsize * 8}"
            for stated, profile in (("grey", colours.grey_icc(curve)), ("RGB", space.icc())):
                data = colours.with_chunks(saved(grey, "PNG"), colours.iccp(profile))
                yield Case(label, name, stated, data, wanted, in_chromium=stated == "grey")
            if curve.kind == 0:
                data = colours.with_chunks(saved(grey, "PNG"), colours.gama(curve.numbers[0]))
                yield Case(label, name, "gAMA", data, wanted)
        data = saved(
            stepped(picture(seed)[..., 0], np.uint8),
            "JPEG",
            quality=95,
            icc_profile=colours.grey_icc(curve, 2),
        )
        wanted = space.to_srgb(by_pillow(data, "RGB"))
        yield Case("grey JPEG 8", name, "grey", data, wanted)


def by_tables() -> Iterator[Case]:
    """Profiles that are more than curves and a matrix: of RGB and of inks."""
    for seed, name in enumerate(("p3", "adobe", "gamma22", "eci"), start=4000):
        profile = colours.table_icc(SPACES[name])
        for kind, options in (("PNG", {}), ("JPEG", LOSSY["JPEG"])):
            data = saved(stepped(picture(seed), np.uint8), kind, **options, icc_profile=profile)
            wanted = exactly(by_pillow(data, "RGB"), profile, "RGB")
            yield Case(f"{kind} 8", name, "table", data, wanted)
        values = stepped(picture(seed), np.uint16)
        data = colours.with_chunks(saved(values, "PNG"), colours.iccp(profile))
        yield Case("PNG 16", name, "table", data, exactly(fractions(values), profile, "RGB"))
    profile = colours.cmyk_icc()
    for seed in (4100, 4101):
        inks = np.dstack([picture(seed), picture(seed)[..., :1] / 3])
        buffer = io.BytesIO()
        drawn = Image.fromarray(stepped(inks, np.uint8), "CMYK")
        drawn.save(buffer, "JPEG", quality=95, icc_profile=profile)
        wanted = exactly(by_pillow(buffer.getvalue(), "CMYK"), profile, "CMYK")
        yield Case("CMYK JPEG 8", "inks", "table", buffer.getvalue(), wanted, in_chromium=False)
        buffer = io.BytesIO()
        drawn.save(buffer, "JPEG", quality=95)
        wanted = by_pillow(buffer.getvalue(), "RGB")
        yield Case("CMYK JPEG 8", "inks", "nothing", buffer.getvalue(), wanted)


def in_hdr() -> Iterator[Case]:
    """PQ and HLG: no goal; `wanted` is not used."""
    for name, transfer in (("PQ", 16), ("HLG", 18)):
        values = picture(5000) * 0.6
        chunk = b"cICP", bytes([9, transfer, 0, 1])
        data = colours.with_chunks(saved(stepped(values, np.uint16), "PNG"), chunk)
        yield Case("PNG 16", name, "cICP", data, values, is_hdr=True)
        data = saved(stepped(values, np.uint8), "AVIF", **LOSSY["AVIF"])
        data = colours.with_code_points(data, 9, transfer)
        yield Case("AVIF 8", name, "nclx", data, values, is_hdr=True)


MAKERS: Sequence[Callable[[], Iterator[Case]]] = (
    in_rgb, in_16_bits, by_numbers, in_grey, by_tables,
)  # fmt: skip


def cases() -> list[Case]:
    """PICTURES of them, evenly over all that is made, and those in HDR."""
    every = [case for make in MAKERS for case in make()]
    places = np.linspace(0, len(every) - 1, PICTURES).round().astype(int)
    return [*(every[i] for i in places), *in_hdr()]
