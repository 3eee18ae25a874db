"""A picture at several smaller sizes: halves of it are made once, and the rest is made of them."""

from tasks.imaging import geometry
from tasks.imaging.geometry import Pixels

_LEAST_RATIO = 2
"""How much larger than what is made of it a half must be at least."""


class Sizes:
    """One picture, H x W or H x W x C of uint8, that several steps look at in small.

    A half has a quarter of the pixels, and takes less time than any other size. What is made of it
    differs from averages of the whole picture's areas only where an area ends inside a pair of
    pixels.
    """

    def __init__(self, picture: Pixels) -> None:
        self._halves = [picture]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        height, width = self._halves[0].shape[:2]
        return height, width

    def half(self) -> Pixels:
        """Means of 2 x 2 pixels, without an odd last row or column."""
        return self._halved(1)

    def at(self, height: int, width: int) -> Pixels:
        """The picture at this size, no larger than its own: means of areas."""
        times = 0
        while _is_enough(self.size, 2 ** (times + 1), height, width):
            times += 1
        if not times:
            return geometry.resize(self._halves[0], height, width)
        extent = self.size[0] / 2**times, self.size[1] / 2**times
        return geometry.area_means(self._halved(times), height, width, extent)

    def about(self, side: int) -> Pixels:
        """The picture with its longer side at most `side`, and less by up to an eighth where a half
        is so large, which leaves odd rows and columns out: for what is no sharper than that."""
        times = (-(-max(self.size) // side) - 1).bit_length()
        if max(self.size) >> times >= side - side // 8 and min(self.size) >> times:
            return self._halved(times)
        return self.at(*geometry.fit(*self.size, side))

    def _halved(self, times: int) -> Pixels:
        while len(self._halves) <= times:
            self._halves.append(geometry.halved(self._halves[-1]))
        return self._halves[times]


def _is_enough(size: tuple[int, int], divided: int, height: int, width: int) -> bool:
    least = _LEAST_RATIO * divided
    return size[0] >= least * height and size[1] >= least * width
