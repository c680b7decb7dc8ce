"""JPEG tiles for the browser: the file's own where possible, else encoded here."""

import numpy as np

from mil_heatmaps.slides.pixels import RGB
from mil_heatmaps.slides.tiff_levels import JPEG, PHOTOMETRIC_YCBCR, TiffLevel
from mil_heatmaps.visualization import jpeg_stream

QUALITY = 92
_START = b"\xff\xd8"
_ADOBE = b"\xff\xee"
_ALIKE = 2.0
"""Mean difference in grey levels up to which two decoders are taken to agree (they upsample chroma
differently).
"""


def encode_jpeg(pixels: RGB, quality: int = QUALITY) -> bytes:
    """Return (H, W, 3) pixels as JPEG, colours at full resolution (a fifth of a millisecond a tile)."""
    return jpeg_stream.encode_jpeg(pixels, quality, "444")


def encode_png(pixels: RGB) -> bytes:
    """Return (H, W, 3) pixels as PNG, for pictures whose colours must stay exact."""
    import imagecodecs

    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=1))


def standalone_jpeg(tiff: TiffLevel, data: bytes) -> bytes:
    """Return the compressed bytes of a TIFF tile as a JPEG file of its own.

    Tiles share their tables, which lie once in the TIFF; and its tag, not the tile, says whether colours are
    RGB or YCbCr, which a JPEG file says by Adobe's marker.
    """
    tables = (tiff.jpeg_tables or b"")[2:-2]
    if _ADOBE in data[:64]:  # it says so itself
        return _START + tables + data[2:]
    transform = 1 if tiff.photometric == PHOTOMETRIC_YCBCR else 0
    adobe = _ADOBE + b"\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    return _START + adobe + tables + data[2:]


def serves_own_tiles(tiff: TiffLevel | None) -> bool:
    """Say whether the file's tiles of a level can be sent as they are; tries it on the largest one."""
    if tiff is None or tiff.compression != JPEG:
        return False
    import imagecodecs

    index = int(np.argmax(tiff.byte_counts))
    try:
        data = tiff.read_raw(index)
        if not data.startswith(_START):
            return False
        shown = imagecodecs.jpeg8_decode(standalone_jpeg(tiff, data))
        expected = tiff.decode_raw(data)
    except Exception:  # every codec has errors of its own, and the file may be cut; such tiles are then encoded again
        return False
    return shown.shape == expected.shape and float(np.abs(shown.astype(np.int16) - expected).mean()) < _ALIKE
