"""Quality-control masks in the attention stage: attention on artefacts, and the slide without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.stages.base import SlideWork

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.patch_scores import Prediction
    from mil_heatmaps.scores.score_file import ScoreFile

Infer = Callable[["PatchFeatures"], "ScoreFile"]
Predict = Callable[["PatchFeatures"], "Prediction | None"]


@dataclass
class Controlled:
    """The scores to keep, the columns for the tables, and the notices."""

    scores: ScoreFile
    columns: dict[str, float] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


def qc_inputs(work: SlideWork) -> dict[str, Any]:
    """Return the masks and what is dropped, for the stage's inputs; empty for a slide without a mask."""
    if work.job.qc_path is None:
        return {}
    from mil_heatmaps.insight.qc import qc_files

    masks = {path.name: work.fingerprint(path) for path in qc_files(work.job.qc_path)}
    drop = sorted(work.config.data_arguments.qc_drop)
    return {"qc": {"masks": masks, "drop": drop, **work.space_inputs("coords_frame")}}


def controlled(
    work: SlideWork,
    scores: ScoreFile,
    features: PatchFeatures | None = None,
    infer: Infer | None = None,
    predict: Predict | None = None,
) -> Controlled:
    """Measure attention on artefacts; ask the model again without them; drop what the config drops.

    Parameters
    ----------
    features, infer, predict
        The bag, the function that scores it, and the one that only predicts; None if the user provides the scores.
    """
    if work.job.qc_path is None:
        told = [] if work.config.data_arguments.qc_dir is None else [
            Notice("no_qc_mask", "qc_dir has no mask of the slide: artefacts are not looked at")
        ]  # fmt: skip
        return Controlled(scores, notices=told)
    from mil_heatmaps.insight.qc import mostly, on_artefacts, qc_columns, qc_notices, read_qc_mask

    mask = read_qc_mask(work.job.qc_path, work.space)
    shares = mask.patch_shares(scores.grid)
    found = on_artefacts(scores.attention, scores.scores.kind, shares, mask.tissue_shares)
    without: dict[str, float] = {}
    if features is not None and predict is not None and scores.prediction is not None:
        for name in shares:
            left = ~mostly(shares, [name])
            if left.any() and not left.all():
                other = predict(features.take(left))
                without |= {name: _same_output(scores.prediction, other)} if other is not None else {}
    done = Controlled(scores, qc_columns(found, without), [*mask.notices, *qc_notices(found)])
    wanted = work.config.data_arguments.qc_drop
    dropped = mostly(shares, wanted) if shares else np.zeros(len(scores), bool)
    if dropped.any():
        done.scores = _without(scores, features, infer, dropped)
        text = f"{int(dropped.sum())} of {len(scores)} patches lie on {', '.join(wanted)} and were left out (qc_drop)"
        done.notices.append(Notice("qc_drop", text, dropped=int(dropped.sum()), patches=len(scores)))
    return done


def _without(
    scores: ScoreFile, features: PatchFeatures | None, infer: Infer | None, dropped: npt.NDArray[np.bool_]
) -> ScoreFile:
    """Return the scores of the patches that stay: by the model on them alone, or as the user provides them."""
    if dropped.all():
        raise FeatureError(f"qc_drop leaves none of the {len(scores)} patches: all lie on artefacts")
    if features is not None and infer is not None:
        return infer(features.take(~dropped))
    grid = scores.grid.take(~dropped)
    main, *extra = (replace(s, grid=grid, values=s.values[~dropped]) for s in (scores.scores, *scores.extra))
    return replace(scores, grid=grid, scores=main, extra=tuple(extra), attention=scores.attention[~dropped])


def _same_output(before: Prediction, after: Prediction) -> float:
    """Return the output without some patches, for the class predicted with all of them; the risk for survival."""
    if after.task == "survival":
        return after.risk
    number = before.predicted if before.task in ("classification", "multilabel") else 0
    return float(after.probabilities[number])
