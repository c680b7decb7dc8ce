"""Pictures of a PDF as JPEG: Matplotlib stores every pixel of them, which makes a figure of 300 dpi 10 MB.

A classic PDF is objects, each beginning where its table of cross references says, and that table. The objects of
pictures are written again, and the table after them.
"""

import io
import re
import struct
import zlib

import numpy as np
import numpy.typing as npt

JPEG_QUALITY = 92
_LEAST_BYTES = 20_000
"""Smaller pictures (a colour bar) keep their pixels."""

_PICTURE = re.compile(rb"/Subtype\s*/Image\b")
_ENTRY = re.compile(rb"(\d{10}) (\d{5}) ([nf])")


def with_jpeg_pictures(pdf: bytes) -> bytes:
    """Return a PDF as Matplotlib writes it with its large RGB pictures as JPEG; unchanged if it is built otherwise."""
    try:
        return _rewritten(pdf)
    except (ValueError, IndexError, KeyError, OSError):
        return pdf  # larger, and right


def _rewritten(pdf: bytes) -> bytes:
    table = int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])
    if not pdf.startswith(b"xref", table):
        raise ValueError("no table of cross references")
    trailer = pdf.index(b"trailer", table)
    entries = _ENTRY.findall(pdf[table:trailer])
    starts = {number: int(at) for number, (at, _, kind) in enumerate(entries) if kind == b"n"}
    ends = dict(zip(sorted(starts.values()), [*sorted(starts.values())[1:], table], strict=True))
    out = bytearray(pdf[: min(starts.values())])
    moved = {}
    for number, start in sorted(starts.items(), key=lambda item: item[1]):
        moved[number] = len(out)
        out += _object(pdf[start : ends[start]], pdf, starts)
    lines = [
        b"%010d %s %s \n" % (moved.get(number, int(at)), generation, kind)
        for number, (at, generation, kind) in enumerate(entries)
    ]
    head = b"xref\n0 %d\n" % len(entries)
    tail = re.sub(rb"startxref\s+\d+", b"startxref\n%d" % len(out), pdf[trailer:])
    return bytes(out) + head + b"".join(lines) + tail


def _object(data: bytes, pdf: bytes, starts: dict[int, int]) -> bytes:
    """Return an object, as JPEG if it is a large picture of 8-bit RGB."""
    begin = data.find(b"stream")
    head = data[:begin]
    if begin < 0 or not _PICTURE.search(head) or b"/DeviceRGB" not in head or b"/Indexed" in head:
        return data
    if b"/SMask" in head or b"/Predictor 1" not in head or _number(head, b"BitsPerComponent") != 8:
        return data
    width, height = _number(head, b"Width"), _number(head, b"Height")
    length = re.search(rb"/Length (\d+)( 0 R)?", head)
    if length is None:
        raise ValueError("a stream without length")
    size = int(length[1])
    if length[2]:
        found = re.match(rb"\d+ 0 obj\s+(\d+)", pdf[starts[size] : starts[size] + 64])
        size = int(found[1]) if found else -1
    first = begin + len(b"stream") + (2 if data[begin + 6 : begin + 8] == b"\r\n" else 1)
    pixels = _decoded(data[first : first + size], width, height)
    if pixels.nbytes < _LEAST_BYTES:
        return data
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    number = data[: data.index(b"obj")]
    return number + (
        b"obj\n<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
        b"/Filter /DCTDecode /Length %d >>\nstream\n" % (width, height, packed.tell())
    ) + packed.getvalue() + b"\nendstream\nendobj\n"


def _number(head: bytes, name: bytes) -> int:
    found = re.search(rb"/%s (\d+)" % name, head)
    if found is None:
        raise ValueError(f"a picture without {name.decode()}")
    return int(found[1])


def _decoded(stream: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the (height, width, 3) pixels of a stream with PNG's filters: with a head and an end it is a PNG."""
    from PIL import Image

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    shape = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + shape + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)
