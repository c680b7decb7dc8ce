"""CLAM's own networks and MIL-Lab's CLAM: the numbers of the originals, and scores that add up."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers import bag as bag_module
from mil_heatmaps.models.clam import ClamMB, ClamSB
from mil_heatmaps.models.clam_mil_lab import CLAMInMILLab
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.mil_fc import MILFC, MILFCMultiClass
from tests.helpers.mil_lab_golden import SHARED, build, case_names, load_case, needs_golden

CLAM_FOLDER = SHARED / "golden" / "clam" / "models"
CLAM_CASES = (
    [case["name"] for case in json.loads((CLAM_FOLDER / "cases.json").read_text())] if CLAM_FOLDER.is_dir() else []
)
TOLERANCE = 1e-5


def features(count: int = 30, width: int = 12) -> Any:
    return np.random.default_rng(1).normal(size=(count, width)).astype(np.float32)


@pytest.mark.skipif(not CLAM_CASES, reason=f"no golden data in {CLAM_FOLDER} (set HEATMAP_TEST_DATA)")
@pytest.mark.parametrize("name", CLAM_CASES)
def test_clam_checkpoints_give_clams_own_numbers(name: str) -> None:
    expected = np.load(CLAM_FOLDER / f"{name}.npz")
    x = np.load(CLAM_FOLDER / "features_40x64.npy")
    model = model_from_checkpoint(CLAM_FOLDER / f"{name}.pt")
    prediction, scores = infer(model, x)
    assert prediction is not None
    np.testing.assert_allclose(prediction.logits, expected["logits"][0], atol=TOLERANCE)
    np.testing.assert_allclose(prediction.probabilities, expected["Y_prob"][0], atol=TOLERANCE)
    assert prediction.predicted == expected["Y_hat"].item()
    raw = expected["A"] if name.startswith("mil") else expected["A"].T
    np.testing.assert_allclose(scores[model.default_score].values, raw, atol=TOLERANCE)
    results, log = model(torch.from_numpy(x), return_attention=True, return_slide_feats=True)
    np.testing.assert_allclose(results["logits"].detach(), expected["logits"], atol=TOLERANCE)
    np.testing.assert_allclose(log["attention"][0].detach(), expected["A"], atol=TOLERANCE)
    np.testing.assert_allclose(
        log["slide_feats"].reshape(expected["features"].shape).detach(), expected["features"], atol=TOLERANCE
    )


@needs_golden
@pytest.mark.parametrize("name", case_names("clam"))
def test_mil_labs_clam_gives_the_golden_numbers_and_losses(name: str) -> None:
    case = load_case(name)
    model = build(case)
    assert isinstance(model, CLAMInMILLab)
    for size in [*case.sizes("logits"), len(case.features)]:
        tail = "" if size == len(case.features) else f"_n{size}"
        explanation = model.explain(case.features[:size])
        np.testing.assert_allclose(explanation.logits, case.arrays[f"logits{tail}"][0], atol=TOLERANCE)
        np.testing.assert_allclose(
            explanation.scores["attention"].values.T, case.arrays[f"attention{tail}"], atol=TOLERANCE
        )
    results, log = model(
        torch.from_numpy(case.features), torch.nn.CrossEntropyLoss(), torch.tensor([1]), return_attention=True
    )
    np.testing.assert_allclose(results["logits"].detach(), case.arrays["logits"], atol=TOLERANCE)
    np.testing.assert_allclose(log["attention"].detach(), case.arrays["attention"], atol=TOLERANCE)
    for key in ("loss", "instance_loss", "cls_loss"):
        assert log[key] == pytest.approx(case.arrays[key].item(), abs=TOLERANCE)


def test_mil_labs_clam_needs_neither_label_nor_eight_patches() -> None:
    model = CLAMInMILLab(in_dim=12, embed_dim=8, attention_dim=6, num_classes=3, subtyping=True).eval()
    results, log = model(torch.from_numpy(features(3)))
    assert results["logits"].shape == (1, 3)
    assert log["attention"] is None
    results, _ = model(torch.from_numpy(features(3)), torch.nn.CrossEntropyLoss(), torch.tensor([2]))
    assert torch.isfinite(results["loss"])


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("kind", [ClamSB, ClamMB])
def test_class_contributions_add_up_to_the_logits_less_their_bias(kind: Any, gate: bool) -> None:
    torch.manual_seed(3)
    model = kind(in_dim=12, hidden_dim=10, attn_dim=6, gate=gate, num_classes=3).eval()
    explanation = model.explain(features(), ["class_contribution", "attention", "instance_logit"], ["x", "y", "z"])
    single = kind is ClamSB
    bias = model.classifiers.bias if single else torch.cat([part.bias for part in model.classifiers])
    contribution = explanation.scores["class_contribution"]
    np.testing.assert_allclose(contribution.values.sum(0), explanation.logits - bias.detach().numpy(), atol=1e-5)
    assert explanation.scores["attention"].names == (("attention",) if single else ("x", "y", "z"))
    embedded = model.attention_net[:3](torch.from_numpy(features()))
    pairs = [classifier(embedded) for classifier in model.instance_classifiers]
    odds = torch.stack([pair[:, 1] - pair[:, 0] for pair in pairs], 1).detach()
    np.testing.assert_allclose(explanation.scores["instance_logit"].values, odds, atol=1e-5)


def test_the_deciding_patch_of_mil_fc_is_the_one_with_the_highest_probability() -> None:
    torch.manual_seed(0)
    two, three = MILFC(in_dim=12).eval(), MILFCMultiClass(in_dim=12, num_classes=3).eval()
    for model, best in ((two, lambda p: p[:, 1].argmax()), (three, lambda p: p.max(axis=1).argmax())):
        explanation = model.explain(features(), ["instance_logit", "instance_probability"])
        chosen = best(explanation.scores["instance_probability"].values)
        np.testing.assert_array_equal(explanation.logits, explanation.scores["instance_logit"].values[chosen])
    with pytest.raises(ModelError, match="no attention"):
        two.patch_scores(features(), "attention")
    with pytest.raises(ModelError, match="mil_fc_mc is for more"):
        MILFC(num_classes=3)


@pytest.mark.parametrize("kind", [ClamSB, ClamMB, MILFCMultiClass])
def test_the_chunking_does_not_change_the_result(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = kind(in_dim=12, num_classes=3).eval()
    names = list(model.score_specs())
    whole = model.explain(features(100), names)
    monkeypatch.setattr(bag_module, "CHUNK_ROWS", 7)
    chunked = model.explain(features(100), names)
    np.testing.assert_allclose(chunked.logits, whole.logits, atol=1e-6)
    for name in names:
        np.testing.assert_allclose(chunked.scores[name].values, whole.scores[name].values, atol=1e-6)
