"""Reads a JPEG XL's header, bit by bit: its size, depth and extra channels (ISO/IEC 18181-1)."""

from dataclasses import dataclass

from tasks.imaging.header import Header, Limits, above, broken, unsupported
from tasks.imaging.headers import isobmff

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_MOST_HEADER_BYTES = 4096
_DECODER_BITS = 21
"""What libjxl holds of a picture in XYB, per pixel, as measured."""
_MAX_EXTRA_CHANNELS = 4
"""Depth maps and masks of a photo; layered drawings have more."""
_ALPHA, _SPOT, _BLACK, _CFA = 0, 2, 4, 5
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Code of a ratio -> width, height."""

# What a variable-length number may be: (bits, what is added to them) by its first two bits.
_Choices = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
_SIDE: _Choices = ((9, 1), (13, 1), (18, 1), (30, 1))
_PREVIEW_SIDE: _Choices = ((6, 1), (8, 65), (10, 321), (12, 1345))
_PREVIEW_EIGHTHS: _Choices = ((0, 16), (0, 32), (5, 1), (9, 33))
_TICKS: _Choices = ((0, 100), (0, 1000), (10, 1), (30, 1))
_TICKS_DIVISOR: _Choices = ((0, 1), (0, 1001), (8, 1), (10, 1))
_LOOPS: _Choices = ((0, 0), (3, 0), (16, 0), (32, 0))
_DEPTH: _Choices = ((0, 8), (0, 10), (0, 12), (6, 1))
_FLOAT_DEPTH: _Choices = ((0, 32), (0, 16), (0, 24), (6, 1))
_COUNT: _Choices = ((0, 0), (0, 1), (4, 2), (12, 1))
_KIND: _Choices = ((0, 0), (0, 1), (4, 2), (6, 18))
_SHIFT: _Choices = ((0, 0), (0, 3), (0, 4), (3, 1))
_NAME: _Choices = ((0, 0), (4, 0), (5, 16), (10, 48))
_CFA_CHANNEL: _Choices = ((0, 1), (2, 0), (4, 3), (8, 19))


@dataclass
class _Bits:
    """Bits of a codestream, the lowest of each byte first."""

    data: bytes
    position: int
    """In bits."""

    def take(self, count: int) -> int:
        """The next bits as a number; 64 at most."""
        start, shift = divmod(self.position, 8)
        self.skip(count)
        number = int.from_bytes(self.data[start : start + 9], "little")
        return number >> shift & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > 8 * len(self.data):
            raise broken("the JPEG XL is cut short")

    def choose(self, choices: _Choices) -> int:
        bits, offset = choices[self.take(2)]
        return self.take(bits) + offset


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a JPEG XL, bare or in a container. Raises BadInput."""
    start = _codestream(data)
    bits = _Bits(data[start + 2 : start + 2 + _MOST_HEADER_BYTES], 0)
    width, height = _size(bits)
    if bits.take(1):  # all as usual
        return Header("jxl", width, height, held_bits=_held_bits(8, 3))
    animated = _extras(bits) if bits.take(1) else False
    depth, is_float = _depth(bits)
    bits.take(1)
    kinds = _extra_channels(bits)
    if _BLACK in kinds:
        raise unsupported("A JPEG XL in CMYK")
    channels, deep = 4 if _ALPHA in kinds else 3, 16 if is_float or depth > 8 else 8
    return Header(
        "jxl", width, height, deep, channels, animated, held_bits=_held_bits(deep, channels)
    )


def _held_bits(bits: int, channels: int) -> int:
    """Of the whole picture, and of libjxl's own."""
    return bits * channels + _DECODER_BITS


def _codestream(data: bytes) -> int:
    """Where the codestream begins."""
    if data.startswith(CODESTREAM):
        return 0
    for kind, start, end in isobmff.boxes(data, 0, len(data)):
        if kind in (b"jxlc", b"jxlp"):
            start += 4 * (kind == b"jxlp")
            if data[start : start + 2] != CODESTREAM or start + 2 > end:
                raise broken("the JPEG XL has no codestream")
            return start
    raise broken("the JPEG XL has no codestream")


def _size(bits: _Bits) -> tuple[int, int]:
    """(width, height)."""
    is_small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.choose(_SIDE)

    height, ratio = side(), bits.take(3)
    return (height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else side()), height


def _extras(bits: _Bits) -> bool:
    """Whether it is an animation. Orientation, intrinsic size and preview are passed over."""
    bits.take(3)
    if bits.take(1):
        _size(bits)
    if bits.take(1):
        side = _PREVIEW_EIGHTHS if bits.take(1) else _PREVIEW_SIDE
        bits.choose(side)
        if not bits.take(3):
            bits.choose(side)
    if not bits.take(1):
        return False
    bits.choose(_TICKS)
    bits.choose(_TICKS_DIVISOR)
    bits.choose(_LOOPS)
    bits.take(1)
    return True


def _depth(bits: _Bits) -> tuple[int, bool]:
    """(bits per channel, whether they are a floating-point number)."""
    if not bits.take(1):
        return bits.choose(_DEPTH), False
    depth = bits.choose(_FLOAT_DEPTH)
    bits.take(4)
    return depth, True


def _extra_channels(bits: _Bits) -> set[int]:
    """The kinds of extra channels."""
    count = bits.choose(_COUNT)
    if count > _MAX_EXTRA_CHANNELS:
        most = f"{_MAX_EXTRA_CHANNELS}"
        raise above(f"The JPEG XL has {count} extra channels", most, "too_many_channels")
    return {_extra_channel(bits) for _ in range(count)}


def _extra_channel(bits: _Bits) -> int:
    if bits.take(1):
        return _ALPHA
    kind = bits.choose(_KIND)
    _depth(bits)
    bits.choose(_SHIFT)
    bits.skip(8 * bits.choose(_NAME))
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(64)
    elif kind == _CFA:
        bits.choose(_CFA_CHANNEL)
    return kind
