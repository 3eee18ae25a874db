"""The pixels of DICOM frames as Hounsfield units. In the sandbox only.

Codecs are those of imagecodecs: libjpeg-turbo, CharLS, OpenJPEG, OpenJPH and one for RLE, all of
them under BSD licences or MIT's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs._htj2k
import imagecodecs._imcd
import imagecodecs._jpeg2k
import imagecodecs._jpeg8
import imagecodecs._jpegls
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tasks.imaging.volumes.body import AIR
from tasks.imaging.volumes.sentences import Refused

Frame = NDArray[np.integer[Any]]
"""H x W of the stored values, whole numbers."""

_PLAIN = frozenset(
    {
        "1.2.840.10008.1.2",  # implicit VR
        "1.2.840.10008.1.2.1",  # explicit VR
        "1.2.840.10008.1.2.1.99",  # deflated: pydicom has inflated it
        "1.2.840.10008.1.2.2",  # big endian
    }
)
_RLE = "1.2.840.10008.1.2.5"
_CODECS: Mapping[str, Callable[[bytes], Any]] = {
    "1.2.840.10008.1.2.4.50": imagecodecs._jpeg8.jpeg8_decode,  # baseline
    "1.2.840.10008.1.2.4.51": imagecodecs._jpeg8.jpeg8_decode,  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": imagecodecs._jpeg8.jpeg8_decode,  # lossless
    "1.2.840.10008.1.2.4.70": imagecodecs._jpeg8.jpeg8_decode,  # lossless, first prediction
    "1.2.840.10008.1.2.4.80": imagecodecs._jpegls.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs._jpegls.jpegls_decode,
    "1.2.840.10008.1.2.4.90": imagecodecs._jpeg2k.jpeg2k_decode,
    "1.2.840.10008.1.2.4.91": imagecodecs._jpeg2k.jpeg2k_decode,
    "1.2.840.10008.1.2.4.201": imagecodecs._htj2k.htj2k_decode,
    "1.2.840.10008.1.2.4.202": imagecodecs._htj2k.htj2k_decode,
    "1.2.840.10008.1.2.4.203": imagecodecs._htj2k.htj2k_decode,
}


@dataclass(frozen=True)
class Scale:
    """What makes Hounsfield units of stored values."""

    slope: float
    intercept: float
    padding: tuple[int, int] | None
    """Stored values, from and to, that are no measurement."""


class Pixels:
    """The frames of one DICOM file, decoded one by one."""

    def __init__(self, file: Dataset) -> None:
        self._syntax = str(file.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
        self._height, self._width = int(file.Rows), int(file.Columns)
        self._bits = int(file.BitsAllocated)
        self._stored = int(file.get("BitsStored", self._bits))
        self._high = int(file.get("HighBit", self._stored - 1))
        self._is_signed = bool(file.get("PixelRepresentation", 0))
        self._is_inverted = file.get("PhotometricInterpretation") == "MONOCHROME1"
        if int(file.get("SamplesPerPixel", 1)) != 1:
            raise Refused("not_grey")
        if self._bits not in (8, 16, 32) or not 1 <= self._stored <= self._bits:
            raise Refused("bad_header")
        if not self._stored - 1 <= self._high < self._bits:
            raise Refused("bad_header")
        self._data = bytes(file.get("PixelData", b""))
        self._count = int(file.get("NumberOfFrames", None) or 1)
        self._frames = self._encoded_frames() if self._syntax not in _PLAIN else None

    def _encoded_frames(self) -> list[bytes]:
        if self._syntax not in _CODECS and self._syntax != _RLE:
            raise Refused("unknown_compression")
        return list(generate_frames(self._data, number_of_frames=self._count))

    def stored(self, n: int) -> Frame:
        """The stored values of frame `n`, whatever bits beside them are used for."""
        raw = self._plain(n) if self._frames is None else self._decoded(self._frames[n])
        values: Frame = raw.astype(np.int64 if self._bits == 32 else np.int32)
        values >>= self._high + 1 - self._stored
        values &= (1 << self._stored) - 1
        if self._is_signed:
            sign = 1 << (self._stored - 1)
            values = (values ^ sign) - sign
        if self._is_inverted:
            values = (-1 if self._is_signed else (1 << self._stored) - 1) - values
        return values

    def hounsfield(self, n: int, scale: Scale) -> tuple[NDArray[np.int16], bool]:
        """H x W of frame `n`, and whether there was padding in it, which is air now."""
        values = self.stored(n)
        units = np.rint(values * np.float32(scale.slope) + np.float32(scale.intercept))
        has_padding = False
        if scale.padding:
            is_padding = (values >= scale.padding[0]) & (values <= scale.padding[1])
            has_padding = bool(is_padding.any())
            units[is_padding] = AIR
        return np.clip(units, AIR, 32767).astype(np.int16), has_padding

    def _plain(self, n: int) -> Frame:
        order = ">" if self._syntax == "1.2.840.10008.1.2.2" else "<"
        kind = np.dtype(f"{order}u{self._bits // 8}")
        count = self._height * self._width
        if len(self._data) < (n + 1) * count * kind.itemsize:
            raise Refused("bad_volume")
        values = np.frombuffer(self._data, kind, count, n * count * kind.itemsize)
        return values.reshape(self._height, self._width)

    def _decoded(self, data: bytes) -> Frame:
        if self._syntax == _RLE:
            plain = imagecodecs._imcd.dicomrle_decode(data, f"<u{self._bits // 8}")
            values = np.frombuffer(plain, f"<u{self._bits // 8}")
            if values.size < self._height * self._width:
                raise Refused("bad_volume")
            return values[: self._height * self._width].reshape(self._height, self._width)
        decoded: Frame = np.asarray(_CODECS[self._syntax](data))
        if decoded.shape != (self._height, self._width):
            raise Refused("not_grey" if decoded.ndim == 3 else "bad_volume")
        return decoded
