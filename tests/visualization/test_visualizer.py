"""`MILLabVisualizer`: the Python face of the same engine."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.cli.generate_heatmaps import main
from mil_heatmaps.errors import FeatureError, ModelError, TissueError
from mil_heatmaps.visualization.visualizer import MILLabVisualizer
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_abmil, write_features
from tests.helpers.slides import make_blank, make_svs_like

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    return make_small_cohort(tmp_path_factory.mktemp("visualizer") / "c")


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        ({"vis_level": 0, "cmap": "magma", "alpha": 0.7}, ["--vis_level", "0", "--cmap", "magma", "--alpha", "0.7"]),
        ({"normalize": "minmax", "segment": False}, ["--normalize", "minmax", "--no_segment"]),
        ({"normalize": "softmax"}, ["--normalize", "softmax"]),
    ],
)
def test_it_draws_the_pixels_of_the_command(
    cohort: SmallCohort, tmp_path: Path, options: dict[str, object], flags: list[str]
) -> None:
    assert main([
        "--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir", str(cohort.slides),
        "--output_dir", str(tmp_path / "O"), *flags,
    ]) == 0  # fmt: skip
    visualizer = MILLabVisualizer(cohort.checkpoint)
    for name in ("s1.tif", "s2.svs", "s3.tif"):
        heatmap = visualizer.visualize(cohort.slides / name, cohort.features, **options)  # type: ignore[arg-type]
        drawn = np.asarray(Image.open(tmp_path / "O" / f"{name[:2]}_heatmap.png"))
        np.testing.assert_array_equal(np.asarray(heatmap.picture), drawn)


@pytest.mark.parametrize("normalize", ["minmax", "robust", "none"])
def test_signed_scores_are_centred_as_the_command_centres_them(
    cohort: SmallCohort, tmp_path: Path, normalize: str
) -> None:
    score = ["--score", "class_contribution", "--classes", "b", "--class_names", "a", "b", "--normalize", normalize]
    assert main([
        "--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir", str(cohort.slides),
        "--output_dir", str(tmp_path / "O"), "--limit", "1", *score,
    ]) == 0  # fmt: skip
    visualizer = MILLabVisualizer(cohort.checkpoint, class_names=["a", "b"], score="class_contribution")
    heatmap = visualizer.visualize(cohort.slides / "s1.tif", cohort.features, classes="b", normalize=normalize)
    [drawn] = (tmp_path / "O").glob("s1_heatmap*.png")
    np.testing.assert_array_equal(np.asarray(heatmap.picture), np.asarray(Image.open(drawn)))


def test_what_it_returns_is_what_the_model_says(cohort: SmallCohort) -> None:
    visualizer = MILLabVisualizer(cohort.checkpoint, class_names=["a", "b"])
    heatmap = visualizer.visualize(cohort.slides / "s1.tif", cohort.features / "s1.h5")
    assert heatmap.prediction is not None
    assert heatmap.prediction.classes == ("a", "b")
    assert heatmap.prediction.probabilities.sum() == pytest.approx(1)
    assert len(heatmap) == len(heatmap.grid) == 48
    best = heatmap.top_patches(3)
    order = np.argsort(-heatmap.values, kind="stable")[:3]
    assert [patch.index for patch in best] == order.tolist()
    assert best[0].image.shape == (128, 128, 3)
    lowest = heatmap.top_patches(1, mode="reverse_topk")[0]
    assert lowest.score == heatmap.values.min()
    assert repr(heatmap).startswith("SlideHeatmap('s1', n=48, score='attention', prediction=")
    assert "16 wide, 2 classes" in repr(visualizer)


def test_a_notebook_shows_the_figure(cohort: SmallCohort) -> None:
    heatmap = MILLabVisualizer(cohort.checkpoint).visualize(cohort.slides / "s1.tif", cohort.features)
    shown = Image.open(io.BytesIO(heatmap._repr_png_()))
    assert shown.format == "PNG"
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(heatmap.figure))


def test_drawing_again_scores_nothing_again_and_saving_gives_the_same_pixels(
    cohort: SmallCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visualizer = MILLabVisualizer(cohort.checkpoint)
    heatmap = visualizer.visualize(cohort.slides / "s1.tif", cohort.features)
    monkeypatch.setattr(visualizer.model, "explain", None)
    other = heatmap.draw(vis_level=0, cmap="magma")
    saved = heatmap.save(tmp_path / "m.png", vis_level=0, cmap="magma")
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), np.asarray(other))
    assert (np.asarray(heatmap.draw(alpha=0.0)) != np.asarray(heatmap.picture)).any()


def test_a_model_in_memory_serves_as_well(cohort: SmallCohort) -> None:
    from mil_heatmaps.checkpoints.load import model_from_checkpoint

    loaded = MILLabVisualizer(model=model_from_checkpoint(cohort.checkpoint))
    slide, features = cohort.slides / "s1.tif", cohort.features
    same = MILLabVisualizer(cohort.checkpoint).visualize(slide, features)
    np.testing.assert_array_equal(loaded.visualize(slide, features).values, same.values)


def test_wrong_use_says_what_would_do(cohort: SmallCohort, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give a checkpoint, or a model"):
        MILLabVisualizer()
    with pytest.raises(ModelError, match=r"no score 'heat'; choose from \['attention'"):
        MILLabVisualizer(cohort.checkpoint, score="heat")
    with pytest.raises(ModelError, match=r"3 class names .* with 2 outputs"):
        MILLabVisualizer(cohort.checkpoint, class_names=["a", "b", "c"])
    visualizer = MILLabVisualizer(cohort.checkpoint)
    write_features(tmp_path / "s1.h5", 1, width=24)
    with pytest.raises(FeatureError, match=r"24 wide, the model .* expects 16"):
        visualizer.visualize(cohort.slides / "s1.tif", tmp_path)
    write_features(tmp_path / "blank.h5", 1)
    with pytest.raises(TissueError, match="no tissue"):
        visualizer.visualize(make_blank(tmp_path / "blank.tif"), tmp_path).picture  # noqa: B018


def test_the_document_of_the_python_face_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_small_cohort(tmp_path / "c")
    (tmp_path / "work" / "slides").mkdir(parents=True)
    for name in ("s1.tif", "s3.tif"):
        (cohort.slides / name).rename(tmp_path / "work" / "slides" / name.upper().replace("TIF", "tif"))
    (tmp_path / "work" / "features").mkdir()
    for number in (1, 3):
        (cohort.features / f"s{number}.h5").rename(tmp_path / "work" / "features" / f"S{number}.h5")
    cohort.checkpoint.rename(tmp_path / "work" / "model.pt")
    monkeypatch.chdir(tmp_path / "work")
    text = (ROOT / "docs" / "reference" / "python_api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/reference/python_api.md", "exec"), names)
    assert Path("S1_heatmap.png").is_file()
    assert Path("S3_map.png").is_file()
    assert names["picture"].size == names["heatmap"].picture.size  # type: ignore[attr-defined]
    seen, logits = names["heatmap"], names["results"]["logits"]  # type: ignore[index]
    np.testing.assert_allclose(logits.softmax(-1)[0], seen.prediction.probabilities, atol=1e-6)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(names["attention"].values[:, 0], seen.values)  # type: ignore[attr-defined]
    assert (names["untrained"].in_dim, names["untrained"].num_classes) == (1536, 3)  # type: ignore[attr-defined]


def test_importing_the_package_stays_light() -> None:
    import subprocess
    import sys

    code = "import sys, src.visualization; print({'torch', 'cv2', 'matplotlib'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_a_slide_of_another_size_than_its_features_is_refused(cohort: SmallCohort, tmp_path: Path) -> None:
    small = make_svs_like(tmp_path / "s1.svs", (256, 256), downsamples=(1,))
    with pytest.raises(FeatureError):
        MILLabVisualizer(cohort.checkpoint).visualize(small, cohort.features)


def test_a_survival_model_tells_its_risk(cohort: SmallCohort) -> None:
    write_abmil(cohort.checkpoint, classes=4)
    visualizer = MILLabVisualizer(cohort.checkpoint, task="survival", score="class_contribution", device="cpu")
    assert "4 outputs (survival)" in repr(visualizer)
    heatmap = visualizer.visualize(cohort.slides / "s1.tif", cohort.features)
    assert heatmap.prediction is not None
    assert heatmap.column == "mean of 4 intervals"
    assert "prediction='risk \N{MINUS SIGN}" in repr(heatmap)
    assert list(heatmap.prediction.numbers) == ["risk", "S_0", "S_1", "S_2", "S_3"]
    with pytest.raises(ModelError, match=r"unknown task 'fate'; choose from \['classification'"):
        MILLabVisualizer(cohort.checkpoint, task="fate")  # type: ignore[arg-type]
