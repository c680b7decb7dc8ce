"""Who is believed about a slide's resolution, in which order, and what is said of it."""

from pathlib import Path

import pytest

from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.resolution import decide_resolution
from tests.helpers.slides import make_svs_like, make_tiled_pyramid

SAID = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}


def ome(size: str = "0.5", unit: str | None = "µm", *, dimensions: str = 'SizeX="640" SizeY="480"') -> dict[str, str]:
    said = "" if unit is None else f' PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    image = f'<Pixels ID="P:0" {dimensions} PhysicalSizeX="{size}" PhysicalSizeY="{size}"{said}>'
    label = '<Pixels SizeX="64" SizeY="64" PhysicalSizeX="7" PhysicalSizeY="7"/>'
    return {"tiff.ImageDescription": f'<?xml version="1.0"?><OME><Image>{label}</Image><Image>{image}</Pixels></Image>'}


@pytest.mark.parametrize(
    ("properties", "listed", "otherwise", "mpp", "source"),
    [
        (SAID, 0.5, 1.0, 0.5, "process list"),
        (SAID, None, 1.0, 0.25, "openslide.mpp"),
        (SAID | ome(), None, None, 0.25, "openslide.mpp"),
        ({"openslide.mpp-x": "353"} | ome(), None, 1.0, 0.5, "OME-XML"),
        ({"openslide.mpp-x": "353"}, None, 1.0, 1.0, "slide_mpp"),
        ({}, None, 1.0, 1.0, "slide_mpp"),
        ({}, None, None, None, ""),
    ],
)
def test_the_first_of_the_sources_that_is_believed_counts(
    properties: dict[str, str], listed: float | None, otherwise: float | None, mpp: float | None, source: str
) -> None:
    found = decide_resolution(properties, (640, 480), listed=listed, otherwise=otherwise)
    assert (found.mpp, found.source) == (mpp, source)
    assert found.by_hand is (source in ("process list", "slide_mpp"))
    assert [note.code for note in found.notes] == (["mpp_by_hand"] if found.by_hand else [] if mpp else ["resolution"])


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [
        ("0.5", None, 0.5), ("0.5", "µm", 0.5), ("0.5", "\u03bcm", 0.5), ("0.5", "&#181;m", 0.5), ("500", "nm", 0.5),
        ("0.0005", "mm", 0.5), ("5e-5", "cm", 0.5), ("0.0000005", "m", 0.5), ("5000", "Å", 0.5), ("0.5", "pixel", None),
        ("0.5", "reference frame", None), ("", "µm", None), ("50", "µm", None),
    ],
)  # fmt: skip
def test_ome_xml_is_read_in_its_unit(size: str, unit: str | None, mpp: float | None) -> None:
    found = decide_resolution(ome(size, unit), (640, 480)).mpp
    assert found == (None if mpp is None else pytest.approx(mpp))


def test_ome_xml_speaks_of_the_image_of_the_slides_size_only() -> None:
    assert decide_resolution(ome(), (64, 64)).mpp == 7.0
    assert decide_resolution(ome(), (65, 64)).mpp is None
    assert decide_resolution({"openslide.comment": ome()["tiff.ImageDescription"]}, (640, 480)).mpp == 0.5
    assert decide_resolution({"openslide.comment": 'about <Pixels SizeX="1" SizeY="1" PhysicalSizeX="1">'}).mpp is None


def test_a_resolution_by_hand_that_differs_names_both() -> None:
    (note,) = decide_resolution(SAID, listed=0.5).notes
    assert note == (
        "the resolution was given by hand: 0.5 µm per pixel (process list); the slide says 0.25 (openslide.mpp)"
    )
    (note,) = decide_resolution(SAID, listed=0.26).notes
    assert note == "the resolution was given by hand: 0.26 µm per pixel (process list)"
    with pytest.raises(ValueError, match=r"must be 0\.05 to 10 µm per pixel, got 500"):
        decide_resolution(SAID, listed=500)


@pytest.mark.parametrize(
    ("power", "mpp", "doubtful"),
    [("40", 0.25, False), ("20", 0.5, False), ("20", 0.75, False), ("40", 0.5, True), ("20", 0.25, True)],
)
def test_an_objective_that_does_not_go_with_the_resolution_is_said(power: str, mpp: float, doubtful: bool) -> None:
    properties = {"openslide.objective-power": power, "openslide.mpp-x": str(mpp), "openslide.mpp-y": str(mpp)}
    notes = decide_resolution(properties).notes
    assert [note.code for note in notes] == (["mpp_doubtful"] if doubtful else [])
    assert not doubtful or notes[0].startswith(f"an objective of {power}x and {mpp} µm per pixel do not agree")


def test_an_open_slide_has_the_resolution_it_is_given(tmp_path: Path) -> None:
    silent = make_tiled_pyramid(tmp_path / "a.tif", (512, 512), downsamples=(1,), mpp=None)
    said = make_svs_like(tmp_path / "b.svs", (480, 480), downsamples=(1,))
    with open_slide(silent) as slide:
        assert (slide.mpp, slide.mpp_note) == (None, "the slide does not say its resolution")
    with open_slide(silent, default_mpp=0.5) as slide:
        assert (slide.mpp, slide.resolution.words) == (0.5, "0.5 µm per pixel (slide_mpp)")
    with open_slide(said, default_mpp=2.0) as slide:
        assert slide.mpp == 0.499
    with open_slide(said, mpp=0.45) as slide:
        assert slide.mpp == 0.45
