"""DICOM parametric maps, read back with highdicom and pydicom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.export import dicom_map
from mil_heatmaps.export.dicom_map import write_dicom_map
from mil_heatmaps.visualization.frame import Frame
from tests.export.test_score_pictures import expected, picture

highdicom = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")


def test_a_map_reads_back_with_its_scores_and_its_place(tmp_path: Path) -> None:
    made = replace(picture(), slide_size_l0=(400, 300))
    write_dicom_map(tmp_path / "s.dcm", made, "score a")
    document = highdicom.imread(tmp_path / "s.dcm")
    assert document.SOPClassUID.name == "Parametric Map Storage"
    np.testing.assert_array_equal(document.get_total_pixel_matrix(), expected(made, 0))
    shared = document.SharedFunctionalGroupsSequence[0]
    assert [float(side) for side in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.00025, 0.00025]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert (mapping.LUTLabel, mapping.LUTExplanation) == ("score a", "score a (class_contribution)")
    assert document.ImageComments.splitlines()[-1] == "one thing to know"
    assert document.DimensionOrganizationType == "TILED_FULL"


def test_maps_of_one_slide_share_its_frame_of_reference_and_not_their_own_names(tmp_path: Path) -> None:
    made = picture()
    for name, column in (("a.dcm", "score a"), ("b.dcm", 'score b & "c"'), ("a2.dcm", "score a")):
        write_dicom_map(tmp_path / name, made, column)
    a, b, again = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm", "a2.dcm"))
    assert a.FrameOfReferenceUID == b.FrameOfReferenceUID
    assert a.StudyInstanceUID == b.StudyInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.SOPInstanceUID == again.SOPInstanceUID  # the same map has the same name
    write_dicom_map(tmp_path / "other.dcm", replace(made, name="other"), "score a")
    assert pydicom.dcmread(tmp_path / "other.dcm").FrameOfReferenceUID != a.FrameOfReferenceUID


def test_a_map_over_a_dicom_slide_refers_to_its_finest_level(tmp_path: Path) -> None:
    """Orientation, origin, patient and frame of reference are the slide's, which lies turned on its glass."""
    source = _whole_slide_header()
    for name, side in (("coarse.dcm", 200), ("fine.dcm", 400)):
        level = source.copy()
        level.TotalPixelMatrixColumns, level.TotalPixelMatrixRows = side, side * 3 // 4
        level.SOPInstanceUID = f"1.2.3.{side}"
        level.file_meta = pydicom.dataset.FileMetaDataset()
        level.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        level.file_meta.MediaStorageSOPClassUID = level.SOPClassUID
        level.file_meta.MediaStorageSOPInstanceUID = level.SOPInstanceUID
        (tmp_path / "slide").mkdir(exist_ok=True)
        level.save_as(tmp_path / "slide" / name, enforce_file_format=True)
    frame = Frame(0, (100, 75), (2.0, 2.0), (100, 40), whole=False)
    made = replace(picture(), frame=frame, slide_size_l0=(400, 300))
    write_dicom_map(tmp_path / "s.dcm", made, "score a", slide_path=tmp_path / "slide")
    document = highdicom.imread(tmp_path / "s.dcm")
    assert document.FrameOfReferenceUID == "1.2.3.9"
    assert document.PatientID == "P7"
    assert document.StudyInstanceUID == "1.2.3.1"
    referred = document.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    assert referred == "1.2.3.400"
    origin = document.TotalPixelMatrixOriginSequence[0]
    # x of the picture runs along -y of the slide: 10 mm, 100.5 pixels of a quarter of a micrometre up.
    assert float(origin.YOffsetInSlideCoordinateSystem) == pytest.approx(20 - 100.5 * 0.00025)
    assert float(origin.XOffsetInSlideCoordinateSystem) == pytest.approx(10 - 40.5 * 0.00025)


def _whole_slide_header() -> "pydicom.Dataset":
    header = pydicom.Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.9"
    header.PatientID, header.PatientName = "P7", "Doe^J"
    header.Modality = "SM"
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.Rows = header.Columns = 256
    header.NumberOfFrames = 4
    header.ImageOrientationSlide = [0.0, -1.0, 0.0, -1.0, 0.0, 0.0]
    origin = pydicom.Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 10.0, 20.0
    header.TotalPixelMatrixOriginSequence = [origin]
    return header


def test_what_dicom_cannot_hold_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoreError, match=r"needs the slide's resolution \(mpp\).*column mpp"):
        write_dicom_map(tmp_path / "s.dcm", picture(mpp=None), "score a")
    monkeypatch.setattr(dicom_map, "MOST_PIXELS", 1000)
    with pytest.raises(ScoreError, match=r"400 x 300 pixels exceeds 1,000: choose a coarser"):
        write_dicom_map(tmp_path / "s.dcm", picture(), "score a")
    assert not list(tmp_path.iterdir())
