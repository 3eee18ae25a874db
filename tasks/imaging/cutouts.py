"""From an upload and its matte to the pictures of a result, at the upload's size, strip by strip.

The same for a photo that has been decoded already and for one that is decoded in the sandbox
meanwhile (composer.py). Nothing here holds the whole picture but the encoders that have to.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tasks.imaging import alpha as mattes
from tasks.imaging import edge_colours, geometry
from tasks.imaging.edge_colours import Near
from tasks.imaging.enlarge import Enlarger
from tasks.imaging.frame import Frame
from tasks.imaging.geometry import Pixels
from tasks.imaging.ground import Ground
from tasks.imaging.sinks import Encoded, Sink, sink_of
from tasks.imaging.types import Alpha, Image

PREVIEW_SIDE = 1024
CUTOUTS = {"cutout": "", **{f"cutout-{form}": form for form in ("png", "webp", "avif", "jpeg")}}
"""Output -> its format; empty where the request chooses it."""
PHOTO = "photo-png"
"""The upload itself in the strips' colours, as large as a cut-out."""
NAMES = ("alpha", "mask", "preview", "edge_colours", "photo", PHOTO, *CUTOUTS)
_SUBJECT = 13
"""Alpha, of 255, from which a pixel counts as the subject's where it is cropped to."""
_ROWS = 128
"""Rows that are worked on together: few enough to stay in a processor's cache."""


@dataclass(frozen=True)
class Look:
    """How a cut-out is to look: tasks/models/cutouts.py describes the fields."""

    background: str = ""
    crop: str = "none"
    margin: float = 0.05
    format: str = "webp"
    max_side: int = 0


@dataclass(frozen=True)
class Subject:
    """What has been found, at the size that was worked on."""

    photo: Image
    """H x W x 3, upright, white where the upload is fully transparent."""
    matte: Alpha
    """H x W: what the model has found."""
    own: Alpha | None = None
    """H x W: the upload's own alpha; None where all of it is opaque."""

    @property
    def pixels(self) -> Pixels:
        """The photo as RGB, or RGBA with the upload's own alpha."""
        return self.photo if self.own is None else mattes.with_alpha(self.photo, self.own)

    @property
    def alpha(self) -> Alpha:
        """What is to be seen: the matte, times the upload's own alpha."""
        return self.matte if self.own is None else times(self.matte, self.own)


def frame_of(subject: Subject, upload: tuple[int, int], look: Look) -> Frame:
    """The frame for an upload of (height, width)."""
    longest = look.max_side or max(upload)
    height, width = geometry.fit(*upload, longest)
    box = _box(subject.alpha) if look.crop == "subject" else None
    if box is None:
        return Frame(0, 0, width, height, height, width)
    left, top, right, bottom = box
    down, across = height / subject.matte.shape[0], width / subject.matte.shape[1]
    room = look.margin * max((right - left) * across, (bottom - top) * down)
    return Frame(
        max(0, int(left * across - room)),
        max(0, int(top * down - room)),
        min(width, int(np.ceil(right * across + room))),
        min(height, int(np.ceil(bottom * down + room))),
        height,
        width,
    )


def compose(
    strips: Iterable[Pixels],
    subject: Subject,
    frame: Frame,
    look: Look,
    names: Sequence[str],
    backdrop: Image | None = None,
    profile: bytes = b"",
) -> dict[str, Encoded]:
    """The pictures that are asked for, encoded.

    `strips`: the upload, upright, at the frame's whole size, from top to bottom, RGB or RGBA.
    `backdrop`: what fills the ground if `look.background` is an upload. `profile`: ICC profile of
    the strips' colours, if it is not sRGB.
    """
    small = {name: _small(name, subject, frame, look, backdrop) for name in names if name in SMALL}
    large = [name for name in names if name not in SMALL]
    if not large:
        return small
    ground = Ground.of(look.background, subject.photo, subject.alpha, frame, backdrop)
    has_alpha = subject.own is not None
    sinks = {name: _sink(name, look, frame, profile, ground, has_alpha) for name in large}
    painter = _Painter(subject, frame, ground, any(name in CUTOUTS for name in large))
    for rows in painter.rows(strips):
        for name, sink in sinks.items():
            sink.write(rows.of(name))
    return small | {name: sink.close() for name, sink in sinks.items()}


@dataclass(frozen=True)
class _Rows:
    """Some rows of the pictures inside the frame."""

    photo: Pixels
    alpha: Alpha
    cutout: Pixels | None
    """None if none is painted."""

    def of(self, name: str) -> Pixels:
        """Those of one picture, N x W x C."""
        if name == PHOTO:
            photo = np.ascontiguousarray(self.photo)
            return photo if photo.shape[2] == 3 else mattes.without_hidden_colour(photo)
        return self.cutout if name in CUTOUTS and self.cutout is not None else self.alpha[..., None]


@dataclass(frozen=True)
class _Painter:
    """Makes the rows inside the frame."""

    subject: Subject
    frame: Frame
    ground: Ground | None
    paints: bool

    def rows(self, strips: Iterable[Pixels]) -> Iterator[_Rows]:
        frame, top = self.frame, 0
        enlarger = _Fitted.of(self.subject, frame)
        near = self._near() if self.paints else None
        for strip in strips:
            first, last = max(top, frame.top), min(top + len(strip), frame.bottom)
            for at in range(first, last, _ROWS):
                rows = strip[at - top : min(at + _ROWS, last) - top]
                yield self._painted(rows, at, enlarger, near)
            top += len(strip)

    def _near(self) -> Near:
        near = edge_colours.near_colours(self.subject.photo, self.subject.matte)
        return edge_colours.four_channels(near)

    def _painted(self, rows: Pixels, top: int, fitted: "_Fitted", near: Near | None) -> _Rows:
        photo = rows[..., :3].copy()
        own = rows[..., 3] if rows.shape[2] == 4 else None
        matte = fitted.strip(top, photo if own is None else mattes.over_white(photo, own))
        alpha = matte if own is None else times(matte, own)
        columns = slice(self.frame.left, self.frame.right)
        alpha = np.ascontiguousarray(alpha[:, columns])
        shown = rows[:, columns, : 3 if self.subject.own is None else 4]
        if near is None:
            return _Rows(shown, alpha, None)
        edge_colours.decontaminate(
            photo,
            matte,
            near,
            slice(top, top + len(photo)),
            (self.frame.height, self.frame.width),
        )
        photo = np.ascontiguousarray(photo[:, columns])
        return _Rows(shown, alpha, self._layered(photo, alpha, top))

    def _layered(self, photo: Image, alpha: Alpha, top: int) -> Pixels:
        if self.ground is not None:
            return over(photo, alpha, self.ground.rows(top, top + len(photo)))
        return mattes.with_alpha(photo, alpha)


@dataclass(frozen=True)
class _Fitted:
    """The matte at the frame's whole size."""

    enlarger: Enlarger | None
    matte: Alpha

    @classmethod
    def of(cls, subject: Subject, frame: Frame) -> "_Fitted":
        size, matte = (frame.height, frame.width), subject.matte
        if size[0] > matte.shape[0] or size[1] > matte.shape[1]:
            return cls(Enlarger(matte, subject.photo, *size), matte)
        return cls(None, geometry.resize(matte, *size))

    def strip(self, top: int, photo: Image) -> Alpha:
        if self.enlarger is None:
            return self.matte[top : top + len(photo)]
        return self.enlarger.strip(top, photo)


def times(matte: Alpha, own: Alpha) -> Alpha:
    """Two alphas, one behind the other."""
    return np.asarray(cv2.multiply(matte, np.ascontiguousarray(own), scale=1 / 255), np.uint8)


def over(photo: Image, alpha: Alpha, ground: Image) -> Image:
    """The photo over the ground, where alpha shows it."""
    share = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    front = cv2.multiply(photo, share, scale=1 / 255)
    back = cv2.multiply(ground, cv2.bitwise_not(share), scale=1 / 255)
    return np.asarray(cv2.add(front, back), np.uint8)


def _box(alpha: Alpha) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the subject; None if there is none."""
    shown = alpha >= _SUBJECT
    down, across = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if not down.size:
        return None
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def _sink(
    name: str, look: Look, frame: Frame, profile: bytes, ground: Ground | None, has_alpha: bool
) -> Sink:
    size = frame.bottom - frame.top, frame.right - frame.left
    if name == PHOTO:
        return sink_of("png", *size, 4 if has_alpha else 3, profile)
    if name not in CUTOUTS:
        return sink_of("png", *size, 1)
    form = CUTOUTS[name] or look.format
    channels = 3 if ground is not None else 4
    return sink_of(form, *size, channels, profile)


def _preview(subject: Subject, frame: Frame, look: Look, backdrop: Image | None) -> Encoded:
    """The cut-out, longest side at most 1024. It is shrunk before it is cut: no rim becomes
    darker."""
    small, inner = _shrunk(subject, frame, PREVIEW_SIDE)
    plain = Look(look.background, look.crop, look.margin, "webp")
    return compose([small.pixels], small, inner, plain, ["cutout"], backdrop)["cutout"]


def _photo(subject: Subject, frame: Frame, look: Look, backdrop: Image | None) -> Encoded:
    """The upload itself, no larger than it was worked on."""
    small, inner = _shrunk(subject, frame, max(subject.matte.shape))
    pixels = small.pixels[inner.top : inner.bottom, inner.left : inner.right]
    sink = sink_of("webp", *pixels.shape)
    sink.write(np.ascontiguousarray(pixels))
    return sink.close()


def _shrunk(subject: Subject, frame: Frame, longest: int) -> tuple[Subject, Frame]:
    """The subject and the frame with at most `longest` pixels a side inside the frame, and no more
    than the subject has."""
    shown = max(frame.bottom - frame.top, frame.right - frame.left)
    scale = min(1.0, longest / shown, subject.matte.shape[1] / frame.width)
    height, width = max(1, round(frame.height * scale)), max(1, round(frame.width * scale))
    small = Subject(
        geometry.resize(subject.photo, height, width),
        geometry.resize(subject.matte, height, width),
        None if subject.own is None else geometry.resize(subject.own, height, width),
    )
    return small, Frame(*_scaled(frame, scale, height, width), height, width)


def _scaled(frame: Frame, scale: float, height: int, width: int) -> tuple[int, int, int, int]:
    left, top = int(frame.left * scale), int(frame.top * scale)
    right = min(width, max(left + 1, round(frame.right * scale)))
    return left, top, right, min(height, max(top + 1, round(frame.bottom * scale)))


def _edge_colours(subject: Subject, frame: Frame, look: Look, backdrop: Image | None) -> Encoded:
    """The colours of the subject near soft edges, and below them those of the ground."""
    stacked = np.vstack(edge_colours.near_colours(subject.photo, subject.matte))
    sink = sink_of("webp-lossless", *stacked.shape)
    sink.write(stacked)
    return sink.close()


SMALL: Mapping[str, Any] = {"preview": _preview, "edge_colours": _edge_colours, "photo": _photo}
"""Pictures that are made from the small photo alone."""


def _small(
    name: str, subject: Subject, frame: Frame, look: Look, backdrop: Image | None
) -> Encoded:
    made: Encoded = SMALL[name](subject, frame, look, backdrop)
    return made
