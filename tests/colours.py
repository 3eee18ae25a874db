"""Colour spaces by their formulas, ICC profiles made of them by hand, and files that state them.

Nothing here uses Pixelmill's own colour management: `Space.to_srgb` is what it is compared to.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
D65, D50, DCI = (0.3127, 0.3290), (0.3457, 0.3585), (0.314, 0.351)
BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
BT2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


@dataclass(frozen=True)
class Curve:
    """Values to linear light, as a function and as the numbers of an ICC curve by formula."""

    to_light: Callable[[Values], Values]
    kind: int
    numbers: tuple[float, ...]


def gamma(exponent: float) -> Curve:
    return Curve(lambda v: v**exponent, 0, (exponent,))


def _srgb(value: Values) -> Values:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lightness(value: Values) -> Values:
    """CIE L*: what eciRGB v2 uses."""
    return np.where(value <= 0.08, value / 9.033, ((value + 0.16) / 1.16) ** 3)


SRGB_CURVE = Curve(_srgb, 3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
L_STAR = Curve(_lightness, 3, (3.0, 1 / 1.16, 0.16 / 1.16, 1 / 9.033, 0.08))


@dataclass(frozen=True)
class Space:
    """A colour space of RGB."""

    name: str
    primaries: tuple[float, ...]
    curve: Curve
    white: tuple[float, float] = D65

    def to_d50(self) -> Values:
        """Linear RGB -> XYZ relative to D50."""
        columns = _columns(self.primaries)
        light = _xyz(self.white)
        return _adaptation(light, _xyz(D50)) @ (columns * np.linalg.solve(columns, light))

    def to_srgb(self, values: Values) -> Values:
        """H x W x 3, 0..1 -> values of sRGB, 0..1, in full precision; clipped."""
        matrix = np.linalg.inv(SRGB.to_d50()) @ self.to_d50()
        light = np.clip(self.curve.to_light(values) @ matrix.T, 0, 1)
        low = light * 12.92
        return np.where(light <= 0.0031308, low, 1.055 * light ** (1 / 2.4) - 0.055)

    def icc(self, *, version: int = 4, name: str = "", swapped: bool = False) -> bytes:
        """An ICC profile of version 2 (curve by 1024 values) or 4 (curve by formula)."""
        matrix = self.to_d50()[:, [1, 0, 2] if swapped else [0, 1, 2]]
        curve = _by_formula(self.curve) if version == 4 else _by_values(self.curve)
        tags = [(b"desc", _text(name or self.name, version)), (b"wtpt", _xyz_tag(_xyz(D50)))]
        tags += [(bytes([c]) + b"XYZ", _xyz_tag(matrix[:, i])) for i, c in enumerate(b"rgb")]
        tags += [(bytes([c]) + b"TRC", curve) for c in b"rgb"]
        return profile(b"RGB ", tags, version)


def _xyz(place: Sequence[float]) -> Values:
    x, y = place
    return np.array([x / y, 1, (1 - x - y) / y])


def _columns(primaries: Sequence[float]) -> Values:
    return np.array([[x, y, 1 - x - y] for x, y in np.reshape(primaries, (3, 2))]).T


def _adaptation(source: Values, target: Values) -> Values:
    ratios = (_BRADFORD @ target) / (_BRADFORD @ source)
    return np.linalg.inv(_BRADFORD) @ np.diag(ratios) @ _BRADFORD


SRGB = Space("sRGB", BT709, SRGB_CURVE)
DISPLAY_P3 = Space("Display P3", P3, SRGB_CURVE)
SPACES = {
    "srgb": SRGB,
    "p3": DISPLAY_P3,
    "adobe": Space("Adobe RGB", (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma(563 / 256)),
    "prophoto": Space(
        "ProPhoto", (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), gamma(1.8), D50
    ),
    "eci": Space("eciRGB v2", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08), L_STAR, D50),
    "dci": Space("DCI-P3", P3, gamma(2.6), DCI),
    "bt2020": Space("BT.2020", BT2020, SRGB_CURVE),
    "apple": Space("Apple RGB", (0.625, 0.34, 0.28, 0.595, 0.155, 0.07), gamma(1.8)),
    "gamma22": Space("Gamma 2.2", BT709, gamma(2.2)),
    "linear": Space("GIMP built-in Linear sRGB", BT709, gamma(1.0)),
    "linear2020": Space("Linear Rec.2020", BT2020, gamma(1.0)),
}


def profile(kind: bytes, tags: Sequence[tuple[bytes, bytes]], version: int = 4) -> bytes:
    """An ICC profile with a PCS of XYZ, or of Lab if it has tables."""
    table, body, place = [], [], 132 + 12 * len(tags)
    for name, value in tags:
        table.append(struct.pack(">4sII", name, place, len(value)))
        body.append(value + bytes(-len(value) % 4))
        place += len(body[-1])
    connection = b"Lab " if any(name == b"A2B0" for name, _ in tags) else b"XYZ "
    use = b"prtr" if kind == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", place, b"test", version << 24, use, kind, connection)
    head += struct.pack(">6H4s28x", 2026, 1, 1, 0, 0, 0, b"acsp") + _xyz_tag(_xyz(D50))[8:]
    return b"".join([head.ljust(128, b"\0"), struct.pack(">I", len(tags)), *table, *body])


def grey_icc(curve: Curve, version: int = 4) -> bytes:
    shape = _by_formula(curve) if version == 4 else _by_values(curve)
    tags = [(b"desc", _text("Grey", version)), (b"wtpt", _xyz_tag(_xyz(D50))), (b"kTRC", shape)]
    return profile(b"GRAY", tags, version)


def table_icc(space: Space, *, steps: int = 17, extra_bytes: int = 0) -> bytes:
    """A profile of version 2 that describes a space by a table (mft2) of steps ** 3 colours."""
    edge = np.linspace(0, 1, steps)
    red, green, blue = np.meshgrid(edge, edge, edge, indexing="ij")
    light = space.curve.to_light(np.stack([red, green, blue], -1)) @ space.to_d50().T
    lab = _lab(light.reshape(-1, 3))
    coded = [lab[:, 0] * 652.8, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256]
    colours = np.rint(np.stack(coded, -1)).clip(0, 65535).astype(">u2")
    ramp = struct.pack(">2H", 0, 65535)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft2" + bytes(4) + bytes([3, 3, steps, 0]) + identity + struct.pack(">2H", 2, 2)
    table += ramp * 3 + colours.tobytes() + ramp * 3
    tags = [(b"desc", _text("Table", 2)), (b"wtpt", _xyz_tag(_xyz(D50))), (b"A2B0", table)]
    if extra_bytes:
        noise = np.random.default_rng(5).integers(0, 256, extra_bytes, np.uint8)
        tags.append((b"test", b"data" + bytes(8) + noise.tobytes()))
    return profile(b"RGB ", tags, 2)


def cmyk_icc() -> bytes:
    """Ink 0 gives white; cyan a middle green, unlike plain mixing; any black gives black."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    corners[...] = (0, 128, 128)
    corners[:, :, :, 0] = (128, 70, 170)
    corners[0, 0, 0, 0] = (255, 128, 128)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + b"\4\3\2\0" + identity + ramp * 4 + corners.tobytes() + ramp * 3
    return profile(b"CMYK", [(b"A2B0", table), (b"wtpt", _xyz_tag(_xyz(D50)))], 2)


def _lab(xyz: Values) -> Values:
    ratios = xyz / _xyz(D50)
    f = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def _fixed(values: Sequence[float] | Values) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _xyz_tag(values: Values) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _by_formula(curve: Curve) -> bytes:
    return struct.pack(">4s4xHxx", b"para", curve.kind) + _fixed(curve.numbers)


def _by_values(curve: Curve) -> bytes:
    steps = np.rint(curve.to_light(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return struct.pack(">4s4xI", b"curv", len(steps)) + steps.tobytes()


def _text(text: str, version: int) -> bytes:
    if version == 4:
        wide = text.encode("utf-16-be")
        return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(wide), 28) + wide
    plain = text.encode("ascii") + b"\0"
    return struct.pack(">4s4xI", b"desc", len(plain)) + plain + bytes(78)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The PNG with chunks behind its header."""
    return png[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + png[33:]


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    """The chunk of a PNG that holds a profile."""
    return b"iCCP", b"a name\0\0" + zlib.compress(profile, 1)


def chrm(space: Space) -> tuple[bytes, bytes]:
    places = (*space.white, *space.primaries)
    return b"cHRM", b"".join(struct.pack(">I", round(value * 100_000)) for value in places)


def gama(exponent: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 / exponent))


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """The JPEG with segments (marker, body) behind its start."""
    parts = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments]
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def icc_segments(profile: bytes, size: int = 65_519) -> list[tuple[int, bytes]]:
    """The profile in APP2 segments of a JPEG, in order."""
    parts = [profile[i : i + size] for i in range(0, len(profile), size)]
    return [
        (0xE2, b"ICC_PROFILE\0" + bytes([i, len(parts)]) + part)
        for i, part in enumerate(parts, start=1)
    ]


def with_code_points(avif: bytes, primaries: int, transfer: int) -> bytes:
    """The AVIF with other code points in its box nclx."""
    start = avif.index(b"colrnclx") + 8
    return avif[:start] + struct.pack(">HH", primaries, transfer) + avif[start + 4 :]


def exif(index: bytes = b"R03", colour_space: int = 65535, order: str = "<") -> bytes:
    """EXIF with an interoperability index and a colour space."""

    def directory(place: int, *entries: tuple[int, int, int, bytes]) -> bytes:
        body = struct.pack(order + "H", len(entries))
        for tag, kind, count, value in entries:
            body += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        return (body + bytes(4)).ljust(place, b"\0")

    def pointer(value: int) -> bytes:
        return struct.pack(order + "I", value)

    head = (b"II*\0" if order == "<" else b"MM\0*") + pointer(8)
    space = struct.pack(order + "H", colour_space)
    return b"".join(
        [
            head,
            directory(32, (0x8769, 4, 1, pointer(40))),
            directory(40, (0xA001, 3, 1, space), (0xA005, 4, 1, pointer(80))),
            directory(32, (1, 2, 4, index + b"\0")),
        ]
    )


def renamed(space: Space, name: str) -> Space:
    return replace(space, name=name)
