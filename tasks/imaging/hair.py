"""Adds hairs that a coarse matte lacks: thin, coloured like the subject's rim, connected with it.

A network that sees 320 px ends the subject where single hairs begin. They are found in the photo:
between the background's colour and the rim's colour, a hair is a narrow peak. It counts where the
background around it is smooth, where peaks outnumber dips (texture has both), and where most thin
structures are connected with the subject (a lattice or letters in the background are not).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import alpha as mattes
from tasks.imaging import geometry
from tasks.imaging.alpha import Matte, Radius
from tasks.imaging.geometry import Pixels
from tasks.imaging.lines import straight
from tasks.imaging.parts import Part, enlarged
from tasks.imaging.sizes import Sizes
from tasks.imaging.surroundings import MIDDLE_PX, SHARE_LOWEST, Scene, grown, judged, part_of, ramp
from tasks.imaging.types import Alpha, Image

_WORK_SIDE = 1024
"""Larger photos are shrunk to this size before hairs are looked for."""
_COLOUR_SIDE, _RIM_PX = 256, 9
"""Size at which colours are measured, and width of the rim that gives the subject's colour."""
_FAR_PART, _NEAR_PART = 10, 40
"""The side divided by these gives the radii of the blurs: rim's colour, nearest background."""
_LEAST_CONTRAST, _GRAIN = 25.0, 5.0
"""Of 255. Below this contrast rim and background cannot be told apart; smaller peaks are noise."""
_WIDEST_PX = 9
"""A wider peak is not a hair."""
_THIN = 0.1
"""Smallest opacity at which a hair is followed."""
_REACH = 0.12
"""Furthest that a hair leaves the subject, as a fraction of the side; the last quarter fades."""
_STRAIGHT = 0.1
"""A line straight for so long, as a fraction of the side, is the ground's."""
_AROUND, _WIDE_AROUND = 0.025, 0.06
"""Radii of the neighbourhoods that are judged, as fractions of the side."""
_ROOTED = (0.5, 0.8)
"""Share of the thin structures around that are connected with the subject: few, most."""
_RIM = np.ones((7, 7), np.uint8)
"""The neighbourhood in which an opaque pixel is at the rim."""


def add(alpha: Alpha, image: Image, sizes: Sizes | None = None) -> Alpha:
    """The matte with the hairs that leave the subject. No value is lowered.

    `sizes`: those of the image, if they are used elsewhere too.
    """
    matte = _shrunk(Sizes(alpha))
    inside = (matte > 127).astype(np.uint8)
    if not inside.any() or inside.all():
        return alpha
    part = _bounds(inside, int((_REACH + _WIDE_AROUND) * max(inside.shape)) + 2 * _WIDEST_PX)
    photo = _shrunk(sizes or Sizes(image))
    scene = _scene(photo, matte, part)
    found = _hairs(scene, max(matte.shape), lambda thin, px: _lines(thin, px, photo, matte, part))
    if found is None:
        return alpha
    opacity = np.zeros(matte.shape, np.uint8)
    opacity[part] = mattes.as_bytes(found)
    return np.asarray(cv2.max(alpha, _enlarged(opacity, alpha.shape[0], alpha.shape[1])), np.uint8)


def _shrunk(sizes: Sizes) -> Pixels:
    """What hairs are looked for in: at most _WORK_SIDE pixels a side, by exact halves from 2048."""
    if _is_double(*sizes.size):
        return sizes.half()
    return sizes.at(*geometry.fit(*sizes.size, _WORK_SIDE))


def _enlarged(small: Alpha, height: int, width: int) -> Pixels:
    """The inverse of `_shrunk`, an odd last row or column repeated."""
    if not _is_double(height, width):
        return geometry.resize(small, height, width)
    large = geometry.resize(small, height // 2 * 2, width // 2 * 2)
    return cv2.copyMakeBorder(large, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _is_double(height: int, width: int) -> bool:
    return max(height, width) // 2 == _WORK_SIDE and min(height, width) > 1


def _bounds(mask: Alpha, margin: int) -> Part:
    """Rows and columns with all that is not 0, and a margin."""
    rows, columns = (np.flatnonzero(mask.max(axis)) for axis in (1, 0))
    first_row, first_column = (max(0, int(places[0]) - margin) for places in (rows, columns))
    return (
        slice(first_row, min(int(rows[-1]) + margin, mask.shape[0])),
        slice(first_column, min(int(columns[-1]) + margin, mask.shape[1])),
    )


def _hairs(
    scene: Scene, side: int, lines: Callable[[Alpha, int], Alpha] = straight
) -> Matte | None:
    """Opacity of the hairs, 0..1; None where there are none. `side`: the longer one of the photo.
    `lines`: finds straight ones of at least so many pixels.

    What costs most is computed only where the rest leaves it possible that there are hairs.
    """
    thin, inside = _thin(scene), (scene.matte > 127).view(np.uint8)
    near, wide = _radius(side, _AROUND), _radius(side, _WIDE_AROUND)
    any_thin = (thin > _THIN).view(np.uint8) & scene.outside
    least = (part_of(any_thin, wide) + np.float32(1e-3)) * np.float32(_ROOTED[0])
    connected = any_thin & _connected(thin > _THIN, inside)
    possible = connected & (part_of(connected, wide) > least)
    if not possible.any():
        return None
    around = connected & grown(possible, wide)
    margin = max(wide[0] + near[0] + MIDDLE_PX, int(_REACH * side) + 2)
    part = _bounds(around, margin)
    search = _Search.of(scene.window(part), any_thin[part], around[part], least[part], side)
    # Most photos have no hairs, which the search says for less than it takes to find lines.
    share = search.share(thin[part])
    if share is None:
        return None
    drawn = lines(any_thin, int(_STRAIGHT * side))
    if drawn.any():
        thin *= 1 - drawn
        share = search.share(thin[part])
        if share is None:
            return None
    opacity = np.zeros(thin.shape, np.float32)
    opacity[part] = search.opacity(thin[part], share)
    return opacity


def _lines(thin: Alpha, least_px: int, photo: Image, matte: Alpha, part: Part) -> Alpha:
    """The straight lines of the ground in this part of the photo."""
    ground = np.maximum(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 1).astype(np.uint8)
    ground[matte > 127] = 0
    return straight(thin, least_px, ground, (part[1].start, part[0].start))


@dataclass(frozen=True)
class _Search:
    """The window of the scene in which there may be hairs; all arrays have its size."""

    scene: Scene
    any_thin: Alpha
    """1 where there is anything thin outside of the subject."""
    least: Matte
    """How much of what is around must be connected thin structures."""
    chance: Matte
    """Whether the surroundings are those of a hair, 0..1; 0 where none is possible."""
    reach: Matte
    """1 near the subject, 0 further away than hairs reach."""
    side: int

    @classmethod
    def of(cls, scene: Scene, any_thin: Alpha, around: Alpha, least: Matte, side: int) -> "_Search":
        """`around`: 1 where there may be hairs."""
        inside = (scene.matte > 127).view(np.uint8)
        needed = grown(around, (1, 1)) & (1 - inside)  # one pixel more leads to the subject
        chance = judged(scene, needed, _radius(side, _AROUND))
        return cls(scene, any_thin, least, chance, _within_reach(inside, side), side)

    def share(self, thin: Matte) -> Matte | None:
        """How much of what is thin around each pixel is connected with the subject; None if there
        are no hairs. With less that is thin, there is less of both."""
        some = self.any_thin & (self._connected(thin * self.chance) > _THIN / 2)
        wide = _radius(self.side, _WIDE_AROUND)
        share = part_of(some, wide) / self.least * np.float32(_ROOTED[0])
        return share if some.any() and share.max() > _ROOTED[0] else None

    def opacity(self, thin: Matte, share: Matte) -> Matte:
        """Opacity of the hairs. `share`: what the method above says."""
        scene = self.scene
        # Where there are hairs, they make the subject's rim more opaque.
        rim = (scene.outside == 0) & (share > _ROOTED[0]) & (cv2.erode(scene.matte, _RIM) < 255)
        on_rim = judged(scene, rim.view(np.uint8), _radius(self.side, _AROUND))
        rooted = self._connected(thin * np.maximum(self.chance, on_rim))
        return np.asarray(rooted * ramp(share, _ROOTED), np.float32)

    def _connected(self, likely: Matte) -> Matte:
        """The same, changed in place: 0 where it is not connected with the subject."""
        inside = (self.scene.matte > 127).view(np.uint8)
        likely *= _connected(likely > _THIN, inside)
        likely *= self.reach
        return likely


def _scene(image: Image, matte: Alpha, part: Part) -> Scene:
    """The scene in this part of the photo."""
    share, contrast = _shares(image, matte, part)
    matte = np.ascontiguousarray(matte[part])
    near = grown((matte > 127).view(np.uint8), (1, 1))
    smooth = cv2.GaussianBlur(share, (0, 0), 0.7)
    np.copyto(smooth, 2, where=near > 0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WIDEST_PX, _WIDEST_PX))
    # Inside the subject, erosion sees nothing low and dilation nothing high: neither leaks out.
    low = cv2.erode(smooth, disc)
    np.copyto(low, SHARE_LOWEST, where=low > 1.5)
    background = cv2.blur(cv2.dilate(low, disc), (_WIDEST_PX, _WIDEST_PX))
    grain = _GRAIN / np.maximum(contrast, 1)
    return Scene(share, grain, 1 - near, background, matte)


def _thin(scene: Scene) -> Matte:
    """How opaque a narrow peak is, if it is a hair."""
    peaks = scene.share - scene.background
    peaks /= np.maximum(1 - scene.background, 0.3)
    peaks -= scene.grain
    peaks *= scene.grain < _GRAIN / _LEAST_CONTRAST
    return np.clip(peaks, 0, 1, out=peaks)


def _shares(image: Image, matte: Alpha, part: Part) -> tuple[Matte, Matte]:
    """Per pixel (share of the rim's colour, its contrast with the background in 0..255).

    The share is the projection of the pixel's colour on the line between both colours.
    """
    rim, background = _colours(image, matte)
    line = [(front - back) / 255 for front, back in zip(rim, background, strict=True)]
    ground = [plane / 255 for plane in background]
    contrast = np.sqrt(mattes.dot(line, line))
    square = np.maximum(contrast, 1 / 255) ** 2
    slopes = [plane / square for plane in line]
    planes = mattes.planes_of(slopes, -mattes.dot(ground, slopes))
    size = matte.shape[0], matte.shape[1]
    share = mattes.linear(image[part], enlarged(planes, part, size))
    np.clip(share, SHARE_LOWEST, 1.5, out=share)
    return share, cv2.resize(contrast * 255, size[::-1])[part]


def _colours(image: Image, matte: Alpha) -> tuple[list[Matte], list[Matte]]:
    """The colours around each pixel: of the subject's rim, and of the background beside it.

    Both are three planes of _COLOUR_SIDE, 0..255. Far from any rim they are the same.
    """
    pixels, small = (Sizes(each).about(_COLOUR_SIDE) for each in (image, matte))
    size = small.shape
    sure = (small > 250).astype(np.uint8)
    rim = (sure - cv2.erode(sure, np.ones((_RIM_PX, _RIM_PX), np.uint8))).astype(np.float32)
    rest = cv2.dilate(small, np.ones((3, 3), np.uint8)) < 128
    clear = np.where(rest, 1 - small / np.float32(255), np.float32(0))
    planes = cv2.split(pixels.astype(np.float32))
    colours = cv2.merge([*planes, np.ones(size, np.float32)])
    far, near = (_radius(max(size), 1 / part) for part in (_FAR_PART, _NEAR_PART))
    closest = np.clip(mattes.box_mean(clear, near) * 10, 0, 1)
    wide, narrow = (_mean_colour(colours, clear, radius) for radius in (far, near))
    background = [
        some + (others - some) * closest for some, others in zip(wide, narrow, strict=True)
    ]
    is_near = mattes.box_mean(rim, far) > 1e-3
    fronts = zip(_mean_colour(colours, rim, far), background, strict=True)
    return [np.where(is_near, front, back) for front, back in fronts], background


def _mean_colour(colours: NDArray[Any], weight: Matte, radius: Radius) -> list[Matte]:
    """Three planes. `colours`: H x W x 4, of which the last is 1."""
    shares = colours * cv2.merge([weight] * 4)
    *means, weights = cv2.split(mattes.box_mean(shares, radius))
    return [mean / (weights + np.float32(1e-4)) for mean in means]


def _connected(thin: NDArray[np.bool_], inside: Alpha) -> Alpha:
    """1 where `thin` is connected with the inside, and in the inside itself."""
    count, found = cv2.connectedComponents(thin.view(np.uint8) | inside, connectivity=8)
    labels, connected, places = found.ravel(), inside.copy(), np.flatnonzero(thin)
    reaches_inside = np.zeros(count, np.uint8)
    border = inside > cv2.erode(inside, np.ones((3, 3), np.uint8))
    reaches_inside[labels[np.flatnonzero(border)]] = 1
    connected.reshape(-1)[places] = reaches_inside[labels[places]]
    return connected


def _within_reach(inside: Alpha, side: int) -> Matte:
    """1 near the subject, 0 from _REACH on."""
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    reach = _REACH * side
    return ramp(distance, (reach, 0.75 * reach))


def _radius(side: int, part: float) -> Radius:
    radius = max(2, int(part * side))
    return radius, radius
