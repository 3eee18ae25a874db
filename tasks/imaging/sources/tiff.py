"""Opens the first page of a TIFF: libtiff (libtiff.py), a few rows or a row of tiles at a time."""

from collections.abc import Iterator

import numpy as np

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers import tiff
from tasks.imaging.headers.tiff import Page
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source
from tasks.imaging.sources.libtiff import Rows, Tiff


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a TIFF."""
    page = tiff.first_page(data)
    if (page.width, page.height) != (header.width, header.height):
        raise ValueError(f"the page is {page.width} x {page.height}, header {header}")
    weighted = page.photometric != tiff.CMYK
    return Source(
        page.width,
        page.height,
        colour.find(data, header, {}),
        lambda: _strips(data, page),
        lambda height, width: base.shrink(
            _strips(data, page), page.height, (height, width), weighted=weighted
        ),
        page.orientation if 1 <= page.orientation <= 8 else 1,
    )


def _strips(data: bytes, page: Page) -> Iterator[Pixels]:
    as_rgb = page.photometric == tiff.YCBCR
    planes = page.channels if page.is_planar else 1
    # Each plane is read by a reader of its own: all of them go through the file once.
    files = [Tiff(data, as_rgb=as_rgb) for _ in range(planes)]
    if page.tile:
        stored = zip(*(_tile_rows(file, page, i) for i, file in enumerate(files)), strict=True)
    else:
        rows = (
            _unpacked_rows(file.rows(page.height, base.STRIP_ROWS, i), page)
            for i, file in enumerate(files)
        )
        stored = zip(*rows, strict=True)
    for parts in stored:
        yield _meant(np.concatenate(parts, 2), page, files[0])


def _unpacked_rows(rows: Iterator[Rows], page: Page) -> Iterator[Pixels]:
    for strip in rows:
        yield _unpacked(strip, page, page.width)


def _tile_rows(file: Tiff, page: Page, channel: int) -> Iterator[Pixels]:
    """Strips of the rows of tiles; each is as high as STRIP_ROWS at most."""
    assert page.tile is not None
    height, width = page.tile
    for top in range(0, page.height, height):
        tiles = [file.tile(top, left, channel) for left in range(0, page.width, width)]
        row_bytes = tiles[0].size // height
        parts = [_unpacked(tile.reshape(height, row_bytes), page, width) for tile in tiles]
        row = np.concatenate(parts, 1)[: page.height - top, : page.width]
        yield from base.sliced(row)


def _unpacked(rows: Rows, page: Page, width: int) -> Pixels:
    """Bytes -> rows x width x channels, uint8 or uint16, each value as stored."""
    values: Pixels
    if page.bits == 16:
        values = rows.view(np.uint16)
    elif page.bits == 8:
        values = rows
    else:
        shifts = np.arange(8 - page.bits, -1, -page.bits, dtype=np.uint8)
        values = (rows[..., None] >> shifts & ((1 << page.bits) - 1)).reshape(len(rows), -1)
    channels = 1 if page.is_planar else page.channels
    return values[:, : width * channels].reshape(len(rows), width, channels)


def _meant(values: Pixels, page: Page, file: Tiff) -> Pixels:
    """Stored values -> grey, RGB or CMYK, and alpha, in the full range of their type."""
    if page.photometric == tiff.PALETTE:
        return base.looked_up(np.ascontiguousarray(values[..., 0]), _palette(file, page))
    colours = values[..., : page.colours]
    if page.bits < 8:
        colours = colours * np.uint8(255 // ((1 << page.bits) - 1))
    if page.photometric == tiff.WHITE_IS_ZERO:
        colours = ~colours
    if page.alpha is None or page.photometric == tiff.CMYK:
        return np.ascontiguousarray(colours)
    pixels = np.concatenate([colours, values[..., page.alpha, None]], 2)
    return base.straight(pixels) if page.is_premultiplied else pixels


def _palette(file: Tiff, page: Page) -> Pixels:
    """256 x 3 uint8; some programs write 8 bits where 16 belong."""
    colours = file.colour_map(1 << page.bits)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours >> 8 if colours.max() > 255 else colours
    return palette
