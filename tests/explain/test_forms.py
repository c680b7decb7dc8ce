"""Every closed form agrees with the definition: a forward of each part of the bag, a pass back through the model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.explain import rows as rows_module
from mil_heatmaps.explain.answers import Sets
from mil_heatmaps.explain.by_forwards import ByForwards, WholeSlopes
from mil_heatmaps.explain.outputs import choose_outputs, output_names
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.watch import SILENT
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.abmil_general import ABMILGeneral
from mil_heatmaps.models.acmil_ga import ACMILGated
from mil_heatmaps.models.acmil_mha import ACMILMultiHead
from mil_heatmaps.models.attrimil import AttriMIL
from mil_heatmaps.models.clam import ClamMB, ClamSB
from mil_heatmaps.models.clam_mil_lab import CLAMInMILLab
from mil_heatmaps.models.dftd import DFTD
from mil_heatmaps.models.dsmil import DSMIL
from mil_heatmaps.models.dsmil_original import DSMILOriginal
from mil_heatmaps.models.explaining import RowsBag
from mil_heatmaps.models.mil_fc import MILFC, MILFCMultiClass
from mil_heatmaps.models.stamp_mean import StampLinear, StampMLP
from mil_heatmaps.models.torchmil_abmil import ABMILTorchmil
from mil_heatmaps.models.torchmil_dsmil import DSMILTorchmil
from mil_heatmaps.models.trident_abmil import TridentClassifier
from tests.helpers.mil_lab_checks import random_features

N, WIDTH = 37, 12
EMBED = ("linear 9", "activation")
FAMILIES: dict[str, Callable[[], Any]] = {
    "abmil": lambda: ABMIL(WIDTH, 16, 8, 2, num_classes=3),
    "abmil_one_output": lambda: ABMIL(WIDTH, 16, 8, gate=False, num_classes=1),
    "clam": lambda: CLAMInMILLab(WIDTH, 16, 8, num_classes=3),
    "clam_sb": lambda: ClamSB(WIDTH, 16, 8, num_classes=3),
    "clam_mb": lambda: ClamMB(WIDTH, 16, 8, num_classes=3),
    "dsmil": lambda: DSMIL(WIDTH, 16, attn_dim=8, num_classes=3),
    "dsmil_one_output": lambda: DSMIL(WIDTH, 16, attn_dim=8, num_classes=1),
    "dftd": lambda: DFTD(WIDTH, 16, attention_dim=8, num_classes=3),
    "mil_fc": lambda: MILFC(WIDTH, 16),
    "mil_fc_mc": lambda: MILFCMultiClass(WIDTH, 16, num_classes=4),
    "abmil_branches": lambda: ABMILGeneral(WIDTH, EMBED, 5, 1, "plain", 6, branches=3, num_classes=2),
    "abmil_class_heads": lambda: ABMILGeneral(WIDTH, EMBED, branches=3, class_heads=True, num_classes=3),
    "acmil_ga": lambda: ACMILGated(WIDTH, branches=4, embed=EMBED, num_classes=3),
    "acmil_mha": lambda: ACMILMultiHead(WIDTH, EMBED, 0, 3, 16, 16, 16, num_classes=3, num_heads=4),
    "attrimil": lambda: AttriMIL(WIDTH, 6, 5, num_classes=3),
    "dsmil_original": lambda: DSMILOriginal(WIDTH, "shared", 8, 10, 7, num_classes=3),
    "dsmil_original_relu": lambda: DSMILOriginal(WIDTH, "deep", 8, 10, 7, num_classes=1),
    "trident": lambda: TridentClassifier(WIDTH, 14, 10, head_dim=8, hidden_dim=6, num_classes=3),
    "stamp_linear": lambda: StampLinear(WIDTH, 3),
    "stamp_mlp": lambda: StampMLP(WIDTH, ("linear 16", "activation", "linear 3"), 3),
    "torchmil_abmil": lambda: ABMILTorchmil(WIDTH, ("linear 10", "activation"), "gated", 8),
    "dsmil_torchmil": lambda: DSMILTorchmil(WIDTH, ("linear 10", "activation"), "deep", 8, 9, 7),
    "trident_heads": lambda: TridentClassifier(WIDTH, 14, n_heads=3, head_dim=8, gated=False, num_classes=1),
}


def asked(family: str, dtype: torch.dtype = torch.float64, sharp: float = 3.0) -> tuple[Any, Rows, Any, ByForwards]:
    """Return a model, its bag, its closed form, and the same asked by forwards."""
    torch.manual_seed(1)
    model = FAMILIES[family]().eval().to(dtype)
    rows = Rows(sharp * random_features(N, WIDTH), torch.device("cpu"), dtype)
    return model, rows, model.exact_form(rows), ByForwards(rows, lambda part: model.bag_logits(RowsBag(part)))


def slow_to_begin(family: str) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a family: torch prepares forward derivatives of a LayerNorm for seconds."""
    return (pytest.mark.slow,) if family.startswith("dsmil") else ()


def close(ours: Any, definition: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(ours, definition, rtol=0, atol=tolerance * np.abs(definition).max())


@pytest.mark.parametrize("chunk", [4096, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_the_bag(family: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", chunk)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        _, _, form, forwards = asked(family)
        close(form.full(), forwards.full())
        close(form.of(np.array([3, 8, 20])), forwards.of(np.array([3, 8, 20])))
        close(form.alone(SILENT), forwards.alone(SILENT))
        close(form.without(Sets.singles(N), SILENT), forwards.without(Sets.singles(N), SILENT))
        parts = [rng.choice(N, size, replace=False) for size in (1, 4, 9, 30, 36)]
        sets = Sets(np.cumsum([0, *map(len, parts)]), np.concatenate(parts))
        close(form.without(sets, SILENT), forwards.without(sets, SILENT))
        labels = rng.integers(0, 6, (3, N))
        keep = rng.random((9, 6)) < 0.5
        keep[:, 0] |= ~keep.any(axis=1)
        close(form.kept(labels, keep, SILENT), forwards.kept(labels, keep, SILENT))
        assert form.exact
        assert form.forwards == 0


@pytest.mark.parametrize("chunk", [4096, 5])
@pytest.mark.parametrize("family", [pytest.param(name, marks=slow_to_begin(name)) for name in FAMILIES])
def test_derivatives(family: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", chunk)
    model, rows, form, forwards = asked(family)
    with torch.no_grad():
        logits = forwards.full()
        whole = WholeSlopes(forwards.forward, model.differentiable_logits)
        for baseline in (None, rows.mean()):
            path = Path(rows, baseline)
            for output in ("log_odds", "probability"):
                outputs = choose_outputs(logits, output_names(len(logits), "classification"), output=output)
                for alpha in (1.0, 0.3):
                    close(form.value(path, alpha), whole.value(path, alpha))
                    close(form.along(path, alpha, outputs), whole.along(path, alpha, outputs), 1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_that_holds_nearly_all_attention_cancels_nothing(family: str) -> None:
    with torch.no_grad():
        _, _, form, forwards = asked(family, sharp=60.0)
        close(form.without(Sets.singles(N), SILENT), forwards.without(Sets.singles(N), SILENT), 1e-11)
        labels = np.arange(N)[None] % 7
        close(form.kept(labels, np.eye(7, dtype=bool), SILENT), forwards.kept(labels, np.eye(7, dtype=bool), SILENT))


@pytest.mark.parametrize("family", FAMILIES)
def test_single_precision_keeps_small_differences(family: str) -> None:
    with torch.no_grad():
        _, _, form, _ = asked(family, torch.float32)
        _, _, _, definition = asked(family)
        ours = form.full() - form.without(Sets.singles(N), SILENT)
        close(ours, definition.full() - definition.without(Sets.singles(N), SILENT), 1e-4)
