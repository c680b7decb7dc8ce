"""The picture size that a JPEG stream declares, without decoding it."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""The markers that begin a frame, SOF0 to SOF15."""

HEAD_BYTES = 2_048
"""In a tile of a slide, the frame begins within this many bytes, unless the tile has a colour profile."""


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return the largest (width, height) that a frame before the first scan declares; None without a frame."""
    return jpeg_head(data)[0]


def jpeg_head(data: bytes) -> tuple[tuple[int, int] | None, bytes]:
    """Return the result of `jpeg_size` and the bytes up to the first scan, which determine it; b"" without a scan."""
    found = None
    at, end = 2, len(data) - 8
    while at <= end:
        if data[at] != 0xFF:  # decoders skip bytes between markers
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xDA, 0xD9):  # a scan, or the end
            return found, data[: at + 2]
        if marker in _FRAMES:
            size = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
            found = size if found is None else (max(found[0], size[0]), max(found[1], size[1]))
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return found, b""
