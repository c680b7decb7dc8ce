"""Every golden TRIDENT and CLAM file, and the real ones, read or refused with a reason."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.find import FeatureIndex
from mil_heatmaps.features.read import feature_info, read_coords, read_features

DATA = Path(os.environ.get("HEATMAP_TEST_DATA", Path(__file__).parents[3] / "shared"))
TRIDENT = DATA / "golden/trident"
JOB = TRIDENT / "job_dir"
SIZES_L0 = {"synth_40x": (10240, 7680), "synth_20x": (5120, 3840)}

pytestmark = pytest.mark.skipif(
    not TRIDENT.is_dir(), reason=f"no golden data at {TRIDENT}; set HEATMAP_TEST_DATA"
)


@pytest.mark.parametrize(
    ("file", "n", "size", "step"),
    [
        ("20x_256px_0px_overlap/patches/synth_40x_patches.h5", 163, 512, 512),
        ("20x_256px_0px_overlap/patches/synth_20x_patches.h5", 149, 256, 256),
        ("10x_256px_128px_overlap/patches/synth_40x_patches.h5", 197, 1024, 512),
        ("10x_256px_128px_overlap/patches/synth_20x_patches.h5", 186, 512, 256),
        ("15x_256px_0px_overlap/patches/synth_40x_patches.h5", 99, 683, 683),
        ("15x_256px_0px_overlap/patches/synth_20x_patches.h5", 94, 341, 341),
        ("../variants/written_by_v0.1.1/20x_256px_64px_overlap/patches/synth_40x_patches.h5", 284, 512, 384),
        ("../variants/written_by_v0.1.1/20x_256px_64px_overlap/patches/synth_20x_patches.h5", 272, 256, 192),
        ("../variants/clam_legacy/patches/synth_40x.h5", 163, 512, 512),
    ],
)
def test_every_coordinates_file_gives_its_true_grid(file: str, n: int, size: int, step: int) -> None:
    path = JOB / file
    slide = "synth_40x" if "40x" in path.name else "synth_20x"
    grid = read_coords(path, slide_size_l0=SIZES_L0[slide])
    assert (len(grid), grid.size_l0, grid.step_l0) == (n, (size, size), (step, step))
    # Every patch lies on the lattice of that step, but for the first, longer step of the old version.
    origin = size if "v0.1.1" in file else 0
    inner = grid.coords_l0[(grid.coords_l0 >= origin).all(axis=1)]
    assert len(inner) > 0.8 * n
    assert ((inner - origin) % step == 0).all()


@pytest.mark.parametrize(
    ("file", "shape", "dtype", "encoder"),
    [
        ("job_dir/20x_256px_0px_overlap/features_uni_v2/synth_40x.h5", (163, 1536), "float32", "uni_v2"),
        ("job_dir/20x_256px_0px_overlap/features_uni_v2/synth_20x.h5", (149, 1536), "float32", "uni_v2"),
        (
            "variants/written_by_v0.1.1/20x_256px_64px_overlap/features_toy128/synth_40x.h5",
            (284, 128),
            "float32",
            "toy128",
        ),
        ("variants/features_float16/synth_20x.h5", (149, 64), "float16", "toy64_fp16"),
    ],
)
def test_every_features_file_is_read(file: str, shape: tuple[int, int], dtype: str, encoder: str) -> None:
    path = TRIDENT / file
    got = read_features(path, slide_size_l0=SIZES_L0[path.stem])
    with h5py.File(path) as file_:
        np.testing.assert_array_equal(got.features, file_["features"][()])
        np.testing.assert_array_equal(got.grid.coords_l0, file_["coords"][()])
    info = feature_info(path)
    assert (info.n, info.width) == got.features.shape == shape
    assert info.dtype == got.features.dtype == dtype
    assert info.encoder == got.encoder == encoder
    assert got.notes == ()


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (
            "job_dir/20x_256px_0px_overlap/slide_features_mean-uni_v2/synth_20x.h5",
            "one vector for the whole slide",
        ),
        ("job_dir/20x_256px_0px_overlap/patches/synth_20x_patches.h5", "this is a coordinates file"),
        ("variants/empty/features_toy64/synth_blank.h5", "no patches .features .0, 64.."),
        ("variants/empty/features_toy_unknown_dim/synth_blank.h5", "no patches .features .0,.."),
        ("variants/saveas_pt/synth_20x.pt", "features but no coordinates.*coords_dir"),
        ("wsis/synth_20x.tiff", "not an HDF5 file"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(file: str, reason: str) -> None:
    with pytest.raises(FeatureError, match=reason):
        read_features(TRIDENT / file)


def test_empty_coordinates_are_refused_with_the_reason() -> None:
    with pytest.raises(FeatureError, match="a blank slide, or no tissue"):
        read_coords(TRIDENT / "variants/empty/patches/synth_blank_patches.h5")


def test_tridents_pt_of_a_numpy_array_is_read_with_coordinates_from_elsewhere() -> None:
    got = read_features(
        TRIDENT / "variants/saveas_pt/synth_20x.pt", coords_dir=JOB / "20x_256px_0px_overlap/patches"
    )
    assert (got.features.shape, got.features.dtype, got.grid.size_l0) == ((149, 64), np.float32, (256, 256))


def test_features_of_one_slide_are_refused_on_another() -> None:
    with pytest.raises(FeatureError, match="made on a slide of 10240 x 7680 px"):
        read_features(FeatureIndex([JOB]).find("synth_40x"), slide_size_l0=SIZES_L0["synth_20x"])


def test_the_job_dir_itself_lists_its_slides() -> None:
    home = JOB / "20x_256px_0px_overlap/features_uni_v2"
    assert FeatureIndex([JOB]).by_stem == {name: [home / f"{name}.h5"] for name in ("synth_20x", "synth_40x")}


@pytest.mark.parametrize("slide", ["LUAD/B/B", "LSCC/D_single/D_single"])
@pytest.mark.parametrize("suffix", [".h5", ".pt"])
def test_clams_features_are_read(slide: str, suffix: str) -> None:
    path = DATA / f"golden/clam/e2e/tree/heatmaps/heatmap_raw_results/E1/{slide}{suffix}"
    got = read_features(path)
    with h5py.File(path.with_suffix(".h5")) as file:
        np.testing.assert_array_equal(got.features, file["features"][()])
        np.testing.assert_array_equal(got.grid.coords_l0, file["coords"][()])
    assert (got.grid.size_l0, got.grid.step_l0) == ((256, 256), (256, 256))
    assert "assuming no overlap" in got.notes[0]


@pytest.mark.parametrize(
    "name", ["B_basic_64_l1", "B_four_pt_256", "B_four_pt_256_s128", "D_four_pt_256_pad"]
)
def test_clams_coordinates_are_read(name: str) -> None:
    grid = read_coords(DATA / f"golden/clam/coords/{name}.h5")
    step = 128 if name.endswith("s128") else 256
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (step, step))


@pytest.mark.parametrize(
    ("slide", "n", "size", "slide_size"),
    [("CMU-1-Small-Region", 39, 256, (2220, 2967)), ("TCGA-CR-7395-01A-01-TS1", 614, 128, (4443, 3567))],
)
@pytest.mark.parametrize(("encoder", "width"), [("resnet50_trunc", 1024), ("efficientnet_lite0", 1280)])
def test_the_real_features_are_read(
    slide: str, n: int, size: int, slide_size: tuple[int, int], encoder: str, width: int
) -> None:
    folder = DATA / "data/features" / encoder
    if not folder.is_dir():
        pytest.skip(f"no real features at {folder}")
    got = read_features(FeatureIndex([folder]).find(slide), slide_size_l0=slide_size)
    assert got.features.shape == (n, width)
    assert got.grid.size_l0 == got.grid.step_l0 == (size, size)
    assert feature_info(folder / f"{slide}.h5").slide_size_l0 == slide_size
    assert got.notes == ()
