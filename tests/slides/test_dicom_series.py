"""The files of one DICOM series in one folder are one slide, whichever of them is named."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.digests import file_fingerprint
from mil_heatmaps.files.names import SLIDE_EXTENSIONS
from mil_heatmaps.slides import dicom_series
from mil_heatmaps.slides.dicom_series import data_file, read_header, slides_in
from mil_heatmaps.slides.reader import open_slide

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PLAIN = "ORIGINAL\\PRIMARY\\VOLUME\\NONE"


def element(tag: int, kind: str, value: bytes, *, explicit: bool = True) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack("<I", len(value)) + value
    if kind in ("OB", "SQ"):
        return head + kind.encode() + struct.pack("<HI", 0, len(value)) + value
    return head + kind.encode() + struct.pack("<H", len(value)) + value


def sequence(tag: int, *elements: bytes, explicit: bool, told: bool = True) -> bytes:
    """Return a sequence of one item, whose lengths are told or left open."""
    inner, head = b"".join(elements), struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    head += b"SQ\0\0" if explicit else b""
    if told:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        return head + struct.pack("<I", len(item)) + item
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return head + struct.pack("<I", 0xFFFFFFFF) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def write(
    path: Path, series: str = "1.2.3", size: tuple[int, int] = (512, 256), kinds: str = PLAIN, level: int = 1,
    syntax: str = EXPLICIT, told: bool = True,
) -> Path:  # fmt: skip
    """Write a level of a DICOM slide in one colour, in frames of 256 x 256."""
    explicit = syntax != IMPLICIT
    width, height = size
    frames = -(-width // 256) * -(-height // 256)
    pixels = np.full((frames, 256, 256, 3), (90, 120, 200), np.uint8).tobytes()

    def text(tag: int, kind: str, value: str) -> bytes:
        return element(tag, kind, value.encode(), explicit=explicit or tag >> 16 == 2)

    def number(tag: int, value: int, kind: str = "US") -> bytes:
        data = struct.pack("<H" if kind == "US" else "<I", value)
        return element(tag, kind, data, explicit=explicit or tag >> 16 == 2)

    image = "1.2.840.10008.5.1.4.1.1.77.1.6"
    spacing = text(0x00280030, "DS", f"{0.0005 * 512 / width:.7f}\\{0.0005 * 512 / width:.7f}")
    meta = element(0x00020001, "OB", b"\0\1") + text(0x00020002, "UI", image)
    meta += text(0x00020003, "UI", f"{series}.{level}") + text(0x00020010, "UI", syntax)
    data = [
        text(0x00080008, "CS", kinds), text(0x00080016, "UI", image), text(0x00080018, "UI", f"{series}.{level}"),
        text(0x00080060, "CS", "SM"),
        sequence(0x00081140, text(0x00081155, "UI", "9.9"), explicit=explicit, told=told),
        text(0x0020000D, "UI", "1.2"), text(0x0020000E, "UI", series), text(0x00200052, "UI", "1.4"),
        text(0x00209311, "CS", "TILED_FULL"), number(0x00280002, 3), text(0x00280004, "CS", "RGB"),
        number(0x00280006, 0), text(0x00280008, "IS", str(frames)), number(0x00280010, 256), number(0x00280011, 256),
        number(0x00280100, 8), number(0x00280101, 8), number(0x00280102, 7), number(0x00280103, 0),
        number(0x00480006, width, "UL"), number(0x00480007, height, "UL"), number(0x00480303, 1, "UL"),
        sequence(0x52009229, sequence(0x00289110, spacing, explicit=explicit), explicit=explicit),
        element(0x7FE00010, "OB", pixels, explicit=explicit),
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + number(0x00020000, len(meta), "UL") + meta + b"".join(data))
    return path


def write_slide(folder: Path, series: str = "1.2.3") -> Path:
    """Write a series: two levels, the finer one last by name, and a label and an overview larger than either."""
    write(folder / f"{series}-a.dcm", series, (256, 128), "DERIVED\\PRIMARY\\VOLUME\\RESAMPLED", 2)
    write(folder / f"{series}-b.dcm", series, (512, 256))
    write(folder / f"{series}-0.dcm", series, (256, 256), "ORIGINAL\\PRIMARY\\LABEL\\NONE", 3)
    write(folder / f"{series}-1.dcm", series, (1024, 1024), "ORIGINAL\\PRIMARY\\OVERVIEW\\NONE", 4)
    return folder / f"{series}-b.dcm"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("told", [True, False])
def test_the_header_is_read_in_every_way_of_writing(tmp_path: Path, syntax: str, told: bool) -> None:
    header = read_header(write(tmp_path / "a.dcm", "1.2.34", (700, 300), syntax=syntax, told=told))
    assert header is not None
    assert (header.series_uid, header.columns, header.rows, header.is_level) == ("1.2.34", 700, 300, True)


@pytest.mark.parametrize("content", [b"", b"no dicom", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\2\0\0\0U"])
def test_what_is_no_dicom_has_no_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    assert read_header(tmp_path / "a.dcm") is None


def test_a_header_that_is_cut_anywhere_is_no_crash(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.dcm", told=False).read_bytes()
    for length in range(132, 700, 7):
        cut = tmp_path / f"cut{length}.dcm"
        cut.write_bytes(whole[:length])
        header = read_header(cut)
        assert header is None or header.series_uid == "1.2.3"


@pytest.mark.parametrize("nested", [False, True])
def test_a_header_of_elements_without_end_is_given_up(tmp_path: Path, nested: bool) -> None:
    whole = write(tmp_path / "a.dcm").read_bytes()
    place = whole.index(struct.pack("<HH", 0x0008, 0x1140))
    empty = element(0x0008_0016, "UI", b"") * 200_000
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) if nested else b""
    (tmp_path / "a.dcm").write_bytes(whole[:place] + opened + empty + whole[place:])
    assert read_header(tmp_path / "a.dcm") is None


@pytest.mark.parametrize("size", [(2**32 - 1, 768), (2**22, 2**21)])
def test_a_slide_that_claims_to_be_larger_than_any_is_refused_with_its_size(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    whole = write(tmp_path / "a.dcm", size=(512, 256)).read_bytes()
    for tag, side in zip((0x00480006, 0x00480007), size, strict=True):
        place = whole.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"UL") + 8
        whole = whole[:place] + struct.pack("<I", side) + whole[place + 4 :]
    (tmp_path / "a.dcm").write_bytes(whole)
    with pytest.raises(SlideError, match=f"{size[0]:,} x {size[1]:,} pixels; no slide is that large"):
        open_slide(tmp_path / "a.dcm")


def test_the_folder_of_a_series_is_opened_whole(tmp_path: Path) -> None:
    finest = write_slide(tmp_path / "1.2.840.5")
    with open_slide(tmp_path / "1.2.840.5") as slide:
        assert (slide.slide_id, slide.vendor, slide.data_path) == ("1.2.840.5", "dicom", finest)
        assert slide.level_dimensions == ((512, 256), (256, 128))
        assert slide.mpp == pytest.approx(0.5)
        assert (slide.read_level(1) == (90, 120, 200)).all()


def test_a_folder_of_no_or_several_series_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="is a folder without a DICOM series"):
        open_slide(tmp_path)
    write_slide(tmp_path, "1.1")
    write_slide(tmp_path, "1.2")
    with pytest.raises(SlideError, match=r"holds 2 DICOM series; name a file of one of them: 1\.1-b\.dcm, 1\.2-b\.dcm"):
        open_slide(tmp_path)


def listed(folder: Path, **options: bool) -> list[tuple[str, Path]]:
    return [(slide_id, path) for slide_id, (path,) in SlideIndex([folder], SLIDE_EXTENSIONS, **options).slides()]


@pytest.mark.parametrize("recursive", [True, False])
def test_a_folder_with_one_series_inside_the_folder_of_slides_is_one_slide(tmp_path: Path, recursive: bool) -> None:
    write_slide(tmp_path / "1.2.840.5")
    (tmp_path / "1.2.840.5/._1.2.3-b.dcm").write_bytes(b"macOS")
    (tmp_path / "T.svs").touch()
    assert dict(listed(tmp_path, recursive=recursive)) == {
        "T": tmp_path / "T.svs", "1.2.840.5": tmp_path / "1.2.840.5",
    }  # fmt: skip


def test_several_series_and_files_beside_others_go_by_their_finest_level(tmp_path: Path) -> None:
    beside, first, second = (write_slide(tmp_path / place, uid) for place, uid in (("", "7"), ("in", "8"), ("in", "9")))
    assert dict(listed(tmp_path)) == {"7-b": beside, "8-b": first, "9-b": second}


def test_a_list_may_name_a_file_of_the_folder_too(tmp_path: Path) -> None:
    finest = write_slide(tmp_path / "S")
    index = SlideIndex([tmp_path], SLIDE_EXTENSIONS)
    assert index.find("S") == tmp_path / "S"
    assert index.find("1.2.3-b") == index.find("1.2.3-b.dcm") == finest


def test_a_damaged_file_is_listed_by_itself(tmp_path: Path) -> None:
    write_slide(tmp_path / "S")
    (tmp_path / "S/bad.dcm").write_bytes(b"cut")
    assert dict(listed(tmp_path)) == {"S": tmp_path / "S", "bad": tmp_path / "S/bad.dcm"}


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    write_slide(tmp_path / "S")
    before = file_fingerprint(tmp_path / "S")
    (tmp_path / "S/notes.txt").write_text("nothing")
    shutil.copytree(tmp_path / "S", tmp_path / "T")
    assert file_fingerprint(tmp_path / "S") == file_fingerprint(tmp_path / "T") == before
    write(tmp_path / "T/1.2.3-a.dcm", size=(300, 128))
    assert file_fingerprint(tmp_path / "T") != before


def test_many_files_are_listed_by_reading_each_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(tmp_path / "S" / f"{n}.dcm", size=(256, 256), level=n) for n in range(40)]
    read: list[Path] = []
    monkeypatch.setattr(dicom_series, "read_header", lambda path: (read.append(path), read_header(path))[1])
    assert slides_in(tmp_path / "S", files, inside=True) == [tmp_path / "S"]
    assert sorted(read) == sorted(files)
    assert data_file(tmp_path / "S") == files[0]
