"""Writes the alpha of a lossy WebP, which is the larger half of the work of writing a cut-out.

Alpha is flat but for its edges, so it becomes the differences from what a pixel's neighbours
foretell, and nearly all of them are 0: runs of zeros, and Huffman codes. That takes a sixth of
libwebp's time, which looks for repetitions of every kind. Format: RFC 9649, sections 2.7.1.2, 3.
"""

import heapq
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.types import Alpha

_HEADER = b"\x1d"
"""Compressed without loss, gradient filter, fewer levels than 256."""
_LEVELS = (np.rint(np.arange(256) / 3) * 3).astype(np.uint8)
"""Alpha in 86 levels, each value within 1 of its own; 0 and 255 stay."""
_LITERALS, _LENGTHS = 256, 24
"""Symbols of a difference, and of the length of a run."""
_LONGEST_RUN, _SHORTEST_RUN = 4096, 3
"""Pixels of one symbol; a shorter run of zeros is written as zeros."""
_AT_ONCE = 2**18
"""Pixels that are worked on together: few enough to stay in a processor's cache."""
_LONGEST_CODE = 15
_SYMBOL, _EXTRA_AT = 0xFFFF, 16
"""A token: its symbol, and from this bit on the extra bits of a run's length."""
_EXTRA_BITS = np.array([0] * _LITERALS + [max(0, i // 2 - 1) for i in range(_LENGTHS)], np.uint64)
"""Per symbol, how many bits follow its code."""
_WORD = np.uint64(2**32 - 1)
_CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_ZERO, _LEFT = (0b0001, 4), (0b1001, 4)
"""Codes with but one symbol, (bits, their number): 0, and the distance of the pixel before."""


@dataclass
class AlphaWriter:
    """Takes strips of alpha from top to bottom."""

    width: int
    is_opaque: bool = True
    """Whether all so far is 255."""
    _above: Alpha = field(init=False)
    """The last row."""
    _tokens: list[NDArray[np.uint32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._above = np.zeros((1, self.width), np.uint8)
        self._has_rows = False
        self._counts = np.zeros(_LITERALS + _LENGTHS, np.int64)

    def write(self, rows: Alpha) -> None:
        """The next rows: N x width."""
        self.is_opaque = self.is_opaque and int(rows.min()) == 255
        step = max(1, _AT_ONCE // self.width)
        for top in range(0, len(rows), step):
            self._write(rows[top : top + step])

    def _write(self, rows: Alpha) -> None:
        part = self._shown(rows)
        levels = np.empty((1 + len(rows), part.stop - part.start), np.uint8)
        levels[:1] = self._above[:, part]
        cv2.LUT(rows[:, part], _LEVELS, levels[1:])
        foretold = _foretold(levels)
        if not self._has_rows:
            foretold[0] = np.append(np.uint8(0), levels[1, :-1])
        self._above = np.asarray(cv2.LUT(rows[-1:], _LEVELS), np.uint8)
        self._has_rows = True
        differences = (levels[1:] - foretold).reshape(-1)
        places = np.flatnonzero(differences != 0)
        values = differences[places]
        places += places // levels.shape[1] * (self.width - levels.shape[1]) + part.start
        tokens = _tokens(places, values, rows.size)
        self._counts += np.bincount(tokens & _SYMBOL, minlength=self._counts.size)
        self._tokens.append(tokens)

    def _shown(self, rows: Alpha) -> slice:
        """The columns in which not all is as foretold because all is 0, here and right above."""
        columns = np.flatnonzero(np.maximum(rows.max(0), self._above[0]))
        if not columns.size:
            return slice(0, 1)
        return slice(int(columns[0]), min(int(columns[-1]) + 2, self.width))

    def close(self) -> bytes:
        """The contents of the chunk `ALPH`, after the last row."""
        lengths = code_lengths(self._counts)
        codes, bits = _codes(lengths), _Bits()
        whole = lengths + _EXTRA_BITS
        bits.add(*np.array(_head(lengths), np.uint64).T)
        for tokens in self._tokens:
            symbols = (tokens & _SYMBOL).astype(np.int64)
            values = codes[symbols]
            runs = np.flatnonzero(tokens > _SYMBOL)
            extra = (tokens[runs] >> _EXTRA_AT).astype(np.uint64)
            values[runs] |= extra << lengths[symbols[runs]]
            bits.add(values, whole[symbols])
        return _HEADER + bits.close()


def _foretold(levels: Alpha) -> Alpha:
    """For all rows but the first: left + above - what is before that one, clipped. In the first
    column, what is above."""
    left, above, before = levels[1:, :-1], levels[:-1, 1:], levels[:-1, :-1]
    foretold = levels[:-1].copy()
    # One of the differences is 0, and saturated bytes are faster than anything wider.
    risen = cv2.add(left, cv2.subtract(above, before))
    cv2.subtract(risen, cv2.subtract(before, above), foretold[:, 1:])
    return foretold


def _tokens(
    places: NDArray[np.int64], differences: NDArray[np.uint8], pixels: int
) -> NDArray[np.uint32]:
    """What is written of so many pixels: differences, not 0, at these places, and elsewhere zeros
    one by one or in runs.

    A run of zeros is one zero and then copies of the pixel before.
    """
    zeros = np.append(places, pixels)
    zeros[1:] -= places + 1
    runs = np.flatnonzero(zeros > _SHORTEST_RUN)
    copied = zeros[runs] - 1
    parts = -(-copied // _LONGEST_RUN)
    before = zeros.copy()
    before[runs] = 1 + parts
    ends = np.cumsum(before + 1)
    tokens = np.zeros(int(ends[-1]) - 1, np.uint32)
    tokens[ends[:-1] - 1] = differences
    last = ends[runs] - 2
    tokens[last] = _run_tokens(copied - (parts - 1) * _LONGEST_RUN)
    longest = _run_tokens(np.array([_LONGEST_RUN]))
    for at, number in zip(last[parts > 1], parts[parts > 1], strict=True):
        tokens[at - number + 1 : at] = longest
    return tokens


def _run_tokens(lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The tokens that copy the pixel before so many times: 1..4096."""
    values = lengths - 1
    high = np.frexp(np.maximum(values, 1))[1].astype(np.int64) - 1
    half = np.maximum(high - 1, 0)
    symbols = np.where(values < 4, values, 2 * high + ((values >> half) & 1))
    extra = np.where(values < 4, 0, values & ((1 << half) - 1))
    return np.asarray(_LITERALS + symbols + (extra << _EXTRA_AT), np.uint32)


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Lengths of Huffman codes for symbols of these frequencies, at most 15; 0 for a symbol that
    does not occur. At least two symbols get a code."""
    counts = counts.copy()
    while np.count_nonzero(counts) < 2:
        counts[np.flatnonzero(counts == 0)[0]] = 1
    while (lengths := _unlimited(counts)).max() > _LONGEST_CODE:
        counts[counts > 0] = np.maximum(counts[counts > 0] // 2, 1)  # makes rare ones less rare
    return lengths


def _unlimited(counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    symbols = np.flatnonzero(counts)
    trees = [(int(counts[symbol]), at) for at, symbol in enumerate(symbols)]
    heapq.heapify(trees)
    above = [0] * (2 * len(trees) - 1)
    for joined in range(len(trees), len(above)):
        (first, some), (second, other) = heapq.heappop(trees), heapq.heappop(trees)
        above[some] = above[other] = joined
        heapq.heappush(trees, (first + second, joined))
    depths = [0] * len(above)
    for at in range(len(above) - 2, -1, -1):
        depths[at] = depths[above[at]] + 1
    lengths = np.zeros(counts.size, np.uint64)
    lengths[symbols] = depths[: symbols.size]
    return lengths


def _codes(lengths: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Canonical codes of these lengths, each with its first bit lowest."""
    codes, code, size = np.zeros(lengths.size, np.uint64), 0, 0
    order = sorted(np.flatnonzero(lengths), key=lambda symbol: (lengths[symbol], symbol))
    for symbol in order:
        code <<= int(lengths[symbol]) - size
        size = int(lengths[symbol])
        codes[symbol] = int(f"{code:0{size}b}"[::-1], 2)
        code += 1
    return codes


def _head(lengths: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """What comes before the pixels, as (bits, their number).

    A palette in which each value has its own place: with one, decoders need a byte a pixel, and
    otherwise four.
    """
    green = [(1, 1), (1, 1), (0, 1), (0, 1), (1, 8)]  # the symbols 0 and 1, of one bit each
    steps = [(0, 1), *[(1, 1)] * 255]
    palette = [(1, 1), (3, 2), (255, 8), (0, 1), *green, _ZERO, _ZERO, _ZERO, _ZERO, *steps]
    own = [(0, 1), (0, 1), (0, 1), (0, 1), (len(_CODE_LENGTH_ORDER) - 4, 4)]
    own += [(4 if symbol < 16 else 0, 3) for symbol in _CODE_LENGTH_ORDER]
    own += [(0, 1), *((int(f"{int(size):04b}"[::-1], 2), 4) for size in lengths)]
    return [*palette, *own, _ZERO, _ZERO, _ZERO, _LEFT]


class _Bits:
    """Collects bits, the lowest first."""

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._rest, self._filled = np.uint64(0), 0

    def add(self, values: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> None:
        """These values of so many bits each, at most 31."""
        ends = np.cumsum(sizes) + np.uint64(self._filled)
        starts = ends - sizes
        words, shifted = starts >> np.uint64(5), values << (starts & np.uint64(31))
        # Values of a word have no bit in common, and no word is skipped, so adding joins them.
        begins = np.append(0, np.flatnonzero(words[1:] != words[:-1]) + 1)
        sums = np.add.reduceat(shifted, begins)
        joined = np.append(sums & _WORD, np.uint64(0))
        joined[0] += self._rest
        joined[1:] += sums >> np.uint64(32)
        whole, self._filled = divmod(int(ends[-1]), 32)
        self._words.append(joined[:whole].astype("<u4").tobytes())
        self._rest = joined[whole]

    def close(self) -> bytes:
        """All bits, filled up to whole bytes with zeros."""
        last = int(self._rest).to_bytes(4, "little")[: -(-self._filled // 8)]
        return b"".join([*self._words, last])
