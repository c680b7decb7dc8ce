"""Numbers written in digits: files and configs from elsewhere hold ones that Python refuses to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from mil_heatmaps.checkpoints import recognise
from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.config.drawing_sections import SampleArguments
from mil_heatmaps.config.quantities import parse_bytes, parse_duration
from mil_heatmaps.config.sections import _output_names
from mil_heatmaps.errors import CheckpointError, ModelError, ScoreError
from mil_heatmaps.features.geometry import positive_pair, slide_size
from mil_heatmaps.files.inert import release_of
from mil_heatmaps.layers.roles import Layout, Match, attempt
from mil_heatmaps.models.registry import model_class
from mil_heatmaps.models.settings import checked_setting
from mil_heatmaps.scores.concepts import read_concepts
from mil_heatmaps.words import reason_of, repeated, whole_number

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), (" 12 ", 12), ("0", 0), ("²", None), ("٣", None), ("-1", None), ("", None), ("1" * 10, None),
     (LONG, None)],
)  # fmt: skip
def test_a_whole_number_has_up_to_nine_plain_digits(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_a_setting_of_a_checkpoint_that_is_no_usable_number_is_refused_in_words() -> None:
    for value in (10**400, -(10**400), 10**5000, float("nan"), float("inf")):
        with pytest.raises(ModelError, match="num_heads must be a whole number up to 65,536"):
            checked_setting(model_class("stamp_vit"), "num_heads", value)


def test_versions_of_thousands_of_digits_are_no_versions() -> None:
    assert release_of(LONG) is None
    assert model_class("stamp_vit").settings_told({"stamp_version": f"{LONG}.1"}) is not None


def test_a_slide_without_a_finite_size_has_none() -> None:
    assert slide_size({"level0_width": float("inf"), "level0_height": 5}) is None
    for value in (float("inf"), float("nan"), 1e300, -1, 0, "x", 10**400):
        assert positive_pair({"patch_size_level0": value}, "patch_size_level0") is None
    assert positive_pair({"patch_size_level0": 512}, "patch_size_level0") == (512.0, 512.0)


NAMES = (f"transformer.layers.{LONG[:900]}.1.1.weight", "a." * 400 + "weight", "a." * 200_000 + "weight", "k" * 2000)


@pytest.mark.parametrize("name", NAMES, ids=len)
def test_no_name_of_a_tensor_costs_time_or_memory(tmp_path: Path, name: str) -> None:
    torch.save({name: torch.zeros(2, 2), "mlp_head.0.weight": torch.zeros(2, 2)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError) as refused:
        model_from_checkpoint(tmp_path / "m.pt")
    assert len(str(refused.value)) < 5000


def test_more_tensors_than_a_model_has_are_refused_before_they_are_compared(tmp_path: Path) -> None:
    torch.save({f"k{i}.weight": torch.zeros(1, 1) for i in range(5001)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"m\.pt: holds 5,001 tensors; no model has more than 5,000"):
        model_from_checkpoint(tmp_path / "m.pt")


def test_tensors_in_more_parts_than_a_model_has_are_refused_before_they_are_compared(tmp_path: Path) -> None:
    deep = ".".join("abcdefghijklmnopqrstuvwxyz")
    torch.save({f"k{i}.{deep}.weight": torch.zeros(1, 1) for i in range(200)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"names more than 5,000 parts of a model; no model has so many"):
        model_from_checkpoint(tmp_path / "m.pt")


def test_a_thousand_blocks_without_a_layer_are_no_thousand_models(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def watched(layout: Layout, inside: Mapping[str, torch.Tensor]) -> Match:
        tried.append(len(inside))
        return attempt(layout, inside)

    monkeypatch.setattr(recognise, "attempt", watched)
    tensors = {f"transformer.layers.{i}.norm.weight": torch.zeros(4) for i in range(1000)}
    assert recognise.fitting(tensors, [model_class("stamp_vit")]) == []
    assert tried == [1000, 1000, 1000]  # below no prefix, transformer., and transformer.layers.


def test_numbers_of_eight_bits_are_looked_at_as_others(tmp_path: Path) -> None:
    odd = torch.tensor([[1.0, float("nan")]]).to(torch.float8_e4m3fn)
    torch.save({"attention.weight": odd, "b.weight": torch.ones(2, 2).to(torch.float8_e5m2)}, tmp_path / "m.pt")
    assert "NaN or infinite values in 1 of 2 tensors: attention.weight" in load_checkpoint(tmp_path / "m.pt").notes[-1]


def test_the_reason_of_a_failure_is_never_longer_than_a_page() -> None:
    text = reason_of(CheckpointError(f"s.h5: its names are {'x' * 10_000_000}"))
    assert text.startswith("s.h5: its names are xxx")
    assert text.endswith("x …")
    assert len(text) < 5000


@pytest.mark.parametrize("text", ["9" * 400, f"{'9' * 400}GB", f"1.{'9' * 400}GB", f"{LONG}:00:00", f"{LONG}h", "²GB"])
def test_sizes_and_times_of_hundreds_of_digits_are_refused_in_words(text: str) -> None:
    for parse, what in ((parse_bytes, "a size in memory"), (parse_duration, "a time")):
        with pytest.raises(ValueError, match=f"must be {what} such as"):
            parse(text)


def test_repeated_names_are_found_in_a_moment() -> None:
    assert repeated(["b", "a", "b", "c", "a"]) == ["a", "b"]
    assert repeated(map(str, range(200_000))) == []


def test_names_that_stand_twice_are_found_among_tens_of_thousands(tmp_path: Path) -> None:
    """Each compared with all others would take minutes."""
    names = [f"n{i}" for i in range(40_000)]
    with pytest.raises(ValueError, match="names 'n7' twice"):
        _output_names([*names, "n7"])
    (tmp_path / "c.csv").write_text("".join(f"{name},1,2\n" for name in [*names, "n9", "n9", ""]))
    with pytest.raises(ScoreError, match=r"needs a name of its own; there are several of \(blank\), n9"):
        read_concepts(tmp_path / "c.csv")
    samples = [{"name": name} for name in ("a", "b", "a")]
    with pytest.raises(ValueError, match="samples holds two sets named 'a'"):
        SampleArguments(samples=samples)
