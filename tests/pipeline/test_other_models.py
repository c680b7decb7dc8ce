"""Models of TransMIL's authors, STAMP, torchmil and HistoBistro, through the command line, against their own code.

STAMP's bags are read from its own feature files too; feature files of other tools go through the same run.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.scores.score_schema import read_scores

DATA = Path(os.environ.get("HEATMAP_TEST_DATA", Path(__file__).parents[3] / "shared"))
GOLDEN = DATA / "golden/others"
SLIDE = GOLDEN / "features/slides/a/S1.svs"
MPP = 0.499
NAMES = (
    "transmil_original", "transmil_lightning", "stamp_vit", "stamp_vit_alibi", "stamp_linear", "stamp_mlp",
    "torchmil_abmil", "torchmil_transmil", "torchmil_transformer_abmil", "bistro_transformer",
)  # fmt: skip
MODELS: dict[str, Any] = {}
FILES: dict[str, Any] = {}
if GOLDEN.is_dir():
    MODELS = json.loads((GOLDEN / "models/manifest.json").read_text())
    FILES = json.loads((GOLDEN / "features/manifest.json").read_text())

pytestmark = pytest.mark.skipif(not MODELS, reason=f"no golden data at {GOLDEN}; set HEATMAP_TEST_DATA")


def run(tmp_path: Path, slide: Path, features: Path, checkpoint: Path, **more: Any) -> tuple[int, Path]:
    """Run the stages up to the scores; return the exit code and the score file."""
    config = {
        "exp_arguments": {
            "save_exp_code": "E", "raw_save_dir": "raw", "production_save_dir": "production", "results_dir": "results"
        },
        "data_arguments": {"data_dir": str(slide), "h5_dir": str(features), **more.pop("data", {})},
        "model_arguments": {"ckpt_path": str(checkpoint), **more},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    code = main(["--config", str(tmp_path / "config.yaml"), "--stages", "coords,attention"])
    return code, next((tmp_path / "raw").rglob("*_blockmap.h5"), tmp_path / "none")


def check(given: Any, expected: Any, error: float) -> None:
    """Compare within the README's tolerance."""
    expected = np.asarray(expected).reshape(np.shape(given))
    tolerance = max(1e-5, 5 * error) * max(1, np.abs(expected).max())
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "features"),
    [(name, key) for name in NAMES for key in ("features", "features_stamp") if key in MODELS.get(name, {})],
)
def test_a_checkpoint_and_features_as_their_users_have_them_give_the_numbers_of_their_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, features: str
) -> None:
    said, base = MODELS[name], GOLDEN / "models"
    monkeypatch.chdir(tmp_path)
    for folder in ("slides", "features"):
        (tmp_path / folder).mkdir()
    shutil.copy(SLIDE, tmp_path / "slides/slide.svs")
    shutil.copy(base / said[features], tmp_path / "features/slide.h5")
    code, written = run(tmp_path, tmp_path / "slides", tmp_path / "features", base / said["checkpoint"])
    assert code == 0
    scores = read_scores(written)
    expected, error = np.load(base / said["expected"]), said["fp32_vs_fp64"]
    order = np.arange(said["n"])
    if features == "features_stamp":  # its rows are in an order of their own
        with h5py.File(base / said["features"]) as mine:
            places = {tuple(row): i for i, row in enumerate(mine["coords"][()].tolist())}
        order = np.array([places[tuple(row)] for row in scores.grid.coords_l0.tolist()])
    first = said["default_score"]
    assert (scores.scores.score, scores.scores.kind) == (first, said["kinds"][first])
    check(scores.scores.values, expected[f"score_{first}"][order], error)
    prediction = scores.prediction
    assert prediction is not None
    logits = expected["logits"].astype(float)
    logits = np.array([0, logits[0]]) if len(logits) == 1 else logits
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(prediction.probabilities, chances, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_score_of_a_model_is_that_of_its_own_code(name: str) -> None:
    said, base = MODELS[name], GOLDEN / "models"
    model = model_from_checkpoint(base / said["checkpoint"])
    with h5py.File(base / said["features"]) as file:
        features, corners = file["features"][()], file["coords"][()]
    found = model.explain(features, list(said["kinds"]), coords_l0=corners, mpp=MPP)
    expected, error = np.load(base / said["expected"]), said["fp32_vs_fp64"]
    check(found.logits, expected["logits"], error)
    for score, kind in said["kinds"].items():
        assert found.scores[score].kind == kind
        check(found.scores[score].values, expected[f"score_{score}"], error)


@pytest.mark.parametrize("name", sorted(FILES))
def test_feature_files_of_other_tools_are_scored_row_by_row_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said, base = FILES[name], GOLDEN / "features"
    monkeypatch.chdir(tmp_path)
    checkpoint = DATA / "golden/mil_lab/layouts/raw_state_dict.pt"
    code, written = run(tmp_path, base / said["slide"], base / said["features"], checkpoint)
    if said.get("refused"):
        told = capsys.readouterr()
        assert code == 1
        assert any(word in told.out + told.err for word in said["message_must_contain_one_of"])
        assert "Traceback" not in told.out + told.err
        return
    assert code == 0
    scores, expected = read_scores(written), np.load(base / said["expected"])
    np.testing.assert_array_equal(scores.grid.coords_l0, expected["coords_l0"])
    np.testing.assert_allclose(scores.scores.values[:, 0], expected["attention"], atol=1e-4)
    assert abs(np.array(scores.grid.size_l0) - expected["patch_size_l0"]).max() <= 1


def test_alibi_on_a_slide_without_a_resolution_fails_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, base = MODELS["stamp_vit_alibi"], GOLDEN / "models"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slides").mkdir()
    shutil.copy(GOLDEN / "features/slides/no_mpp/S1.tif", tmp_path / "slides/slide.tif")
    (tmp_path / "features").mkdir()
    shutil.copy(base / said["features"], tmp_path / "features/slide.h5")
    where = (tmp_path / "slides", tmp_path / "features", base / said["checkpoint"])
    code, _ = run(tmp_path, *where)
    told = capsys.readouterr()
    assert code == 1
    assert "places of patches in micrometres, and the slide's resolution (mpp) is not known" in told.out + told.err
    code, written = run(tmp_path, *where, data={"slide_mpp": MPP})
    assert code == 0
    check(read_scores(written).scores.values, np.load(base / said["expected"])["score_attention"], said["fp32_vs_fp64"])


def test_a_slide_finds_its_bag_in_a_file_of_pathforges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, said = GOLDEN / "features", FILES["stamp_2_5"]
    monkeypatch.chdir(tmp_path)
    expected = np.load(base / said["expected"])
    with h5py.File(base / said["features"] / "S1.h5") as stamp, h5py.File(tmp_path / "cohort.h5", "w") as cohort:
        corners = expected["coords_l0"]
        read = np.tile([128, 128, 0], (len(corners), 1))
        for name, order in (("S1", slice(None)), ("S2", slice(None, None, -1))):
            cohort[f"bags/{name}/coords"] = np.concatenate([corners, read], axis=1)[order].astype(np.int32)
            cohort[f"bags/{name}/features/uni"] = stamp["feats"][()].astype(np.float32)[order]
    (tmp_path / "slides").mkdir()
    for name in ("S1", "S2"):
        shutil.copy(SLIDE, tmp_path / f"slides/{name}.svs")
    code, _ = run(tmp_path, tmp_path / "slides", tmp_path, DATA / "golden/mil_lab/layouts/raw_state_dict.pt")
    assert code == 0
    for name, step in (("S1", 1), ("S2", -1)):
        scores = read_scores(next((tmp_path / "raw").rglob(f"{name}_blockmap.h5")))
        np.testing.assert_array_equal(scores.grid.coords_l0, corners[::step])
        np.testing.assert_allclose(scores.scores.values[:, 0], expected["attention"][::step], atol=1e-4)
        assert scores.grid.size_l0 == (128, 128)


def test_features_of_several_encoders_need_the_key_that_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base, said = GOLDEN / "features", FILES["stamp_2_5"]
    monkeypatch.chdir(tmp_path)
    expected = np.load(base / said["expected"])
    corners = expected["coords_l0"]
    with h5py.File(base / said["features"] / "S1.h5") as stamp, h5py.File(tmp_path / "S1.h5", "w") as file:
        file["bags/S1/coords"] = np.concatenate([corners, np.tile([128, 128, 0], (len(corners), 1))], 1).astype("i4")
        file["bags/S1/features/uni"] = stamp["feats"][()].astype(np.float32)
        file["bags/S1/features/other"] = np.zeros((len(corners), 7), np.float32)
    where = (tmp_path, SLIDE.parent, tmp_path, DATA / "golden/mil_lab/layouts/raw_state_dict.pt")
    assert run(*where)[0] == 1
    assert "features of several encoders: name one of other, uni in data_arguments.feature_extractor" in (
        capsys.readouterr().out
    )
    code, written = run(*where, data={"feature_extractor": "uni"})
    assert code == 0
    scores = read_scores(written)
    np.testing.assert_allclose(scores.scores.values[:, 0], expected["attention"], atol=1e-4)
    assert scores.encoder == "uni"
