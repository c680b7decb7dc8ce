"""JPEG written band by band: each band is compressed separately, then all are joined with restart markers.

A restart marker makes a decoder forget what came before, so the next band decodes as the start of a picture. The
pixels are the same as if the whole picture had been compressed at once.
"""

import struct
from typing import BinaryIO, Literal

import numpy as np

from mil_heatmaps.slides.pixels import UInt8Array

Subsampling = Literal["444", "422", "420"]
StoredColours = Literal["YCBCR", "RGB"]

MOST_SIDE = 65500
"""libjpeg's limit; the format itself ends at 65535."""

_SOF0, _SOS, _APP0 = 0xC0, 0xDA, 0xE0
_ICC_PART = 65519
"""Bytes of an ICC profile that fit one segment."""


def encode_jpeg(
    pixels: UInt8Array, quality: int, subsampling: Subsampling = "420", stored: StoredColours = "YCBCR"
) -> bytes:
    """Return (H, W, 3) pixels as a baseline JPEG file with the standard Huffman tables.

    Defaults are those of PIL: YCbCr with chroma halved both ways.
    """
    import imagecodecs

    data = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(pixels), quality, colorspace="RGB", outcolorspace=stored, subsampling=subsampling
    )
    return bytes(data)


class JpegWriter:
    """Writes a JPEG from top to bottom, in bands of `rows` rows each; the last band may have fewer.

    Parameters
    ----------
    file : binary file open for writing
    size_px : (width, height)
        Each at most `MOST_SIDE`.
    rows : int
        A multiple of 16, with at most 65535 blocks of 16 x 16 pixels per band.
    quality : int
        1 to 100.
    icc_profile, dpi
        Written into the file's header.
    """

    def __init__(
        self,
        file: BinaryIO,
        size_px: tuple[int, int],
        rows: int,
        quality: int = 100,
        *,
        icc_profile: bytes | None = None,
        dpi: float | None = None,
    ) -> None:
        self._icc_profile, self._dpi = icc_profile, dpi
        self._file = file
        self._size_px = size_px
        self._quality = quality
        self._blocks = -(-size_px[0] // 16) * (rows // 16)
        self._bands = 0
        if rows % 16 or not 0 < self._blocks <= 65535:
            raise ValueError(f"bands of {rows} rows cannot be joined at width {size_px[0]}")

    def encode(self, pixels: UInt8Array) -> bytes:
        """Return a band as a separate JPEG file. Several threads may encode bands at once."""
        return encode_jpeg(pixels, self._quality)

    def write(self, band: bytes) -> None:
        """Append an encoded band."""
        head, data = _split(band)
        if self._bands == 0:
            self._file.write(self._whole_head(head))
        else:
            self._file.write(bytes((0xFF, 0xD0 + (self._bands - 1) % 8)))
        self._file.write(data)
        self._bands += 1

    def finish(self) -> None:
        """End the file."""
        self._file.write(b"\xff\xd9")

    def _whole_head(self, head: bytes) -> bytes:
        """Return a band's headers with the height of the whole picture and the restart interval."""
        out = bytearray(head[:2])
        for marker, start, end in _segments(head):
            segment = bytearray(head[start:end])
            if marker == _SOF0:
                segment[5:9] = struct.pack(">HH", self._size_px[1], self._size_px[0])
            if marker == _SOS:
                out += struct.pack(">HHH", 0xFFDD, 4, self._blocks)
            if marker == _APP0 and self._dpi is not None:
                segment[11:16] = struct.pack(">BHH", 1, round(self._dpi), round(self._dpi))  # dots per inch
            out += segment
            if marker == _APP0:
                out += _profile_segments(self._icc_profile)
        return bytes(out)


def with_profile(jpeg: bytes, profile: bytes | None) -> bytes:
    """Return a JPEG file of `encode_jpeg` with an ICC profile added; unchanged without a profile."""
    if not profile:
        return jpeg
    end = next(end for marker, _, end in _segments(jpeg) if marker == _APP0)
    return jpeg[:end] + _profile_segments(profile) + jpeg[end:]


def _profile_segments(profile: bytes | None) -> bytes:
    """Return an ICC profile in as many segments as it needs."""
    data = profile or b""
    parts = [data[start : start + _ICC_PART] for start in range(0, len(data), _ICC_PART)]
    return b"".join(
        struct.pack(">HH", 0xFFE2, 16 + len(part)) + b"ICC_PROFILE\0" + bytes((number, len(parts))) + part
        for number, part in enumerate(parts, 1)
    )


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return (marker, start, end) of each header segment, up to the one that begins the scan."""
    found = []
    start = 2
    while True:
        marker, length = data[start + 1], struct.unpack(">H", data[start + 2 : start + 4])[0]
        found.append((marker, start, start + 2 + length))
        start += 2 + length
        if marker == _SOS:
            return found


def _split(data: bytes) -> tuple[bytes, memoryview]:
    """Return the headers of a JPEG file and its compressed pixels, without the end marker."""
    end_of_head = _segments(data)[-1][2]
    return data[:end_of_head], memoryview(data)[end_of_head : data.rindex(b"\xff\xd9")]
