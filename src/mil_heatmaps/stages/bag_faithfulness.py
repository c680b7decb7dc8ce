"""Faithfulness of the maps of all bags but the first, for a model that takes several: one document per bag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mil_heatmaps.devices import lost_gpu
from mil_heatmaps.stages.bags import SUM, bag_files
from mil_heatmaps.stages.explanations import has_one_logit
from mil_heatmaps.stages.measured_maps import drawn_target
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.explain.faithfulness_plan import Plan
    from mil_heatmaps.models.several_inputs import SeveralInputsModel
    from mil_heatmaps.stages.base import SlideWork


def measure_other_bags(
    work: SlideWork, model: SeveralInputsModel, plan: Plan, settings: dict[str, Any], tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return the measurements of each bag's scores, by bag, with the other inputs held fixed.

    If measuring a bag fails, `tell` gets the reason and the bag has no document.
    """
    from mil_heatmaps.explain.sentences import check_sentences
    from mil_heatmaps.scores.score_schema import read_scores
    from mil_heatmaps.scores.select import of_head

    found, task = {}, work.config.model_arguments.task
    for name, path in bag_files(work).items():
        if name == SUM:
            continue
        file = read_scores(path)
        head = work.config.heatmap_arguments.head
        maps = {score: of_head(kept, head) for score, kept in file.all_scores.items()}
        remarks = {
            score: check_sentences(score, kept.explained.checks) for score, kept in maps.items() if kept.explained
        }
        names = None if file.prediction is None else file.prediction.classes
        if names is not None and file.prediction is not None and has_one_logit(model, file.prediction):
            names = names[-1:]
        try:
            with model.on_slide(model.inputs, name):
                measured = model.faithfulness(
                    model.inputs.bags[name], maps, names, target=drawn_target(work), level=plan.level,
                    settings={**settings, "task": task}, drawn=file.scores.score, mpp=file.level0_mpp, remarks=remarks,
                )  # fmt: skip
        except Exception as error:  # the user's own model runs here; the maps are valid without it
            if lost_gpu(error):
                raise
            tell(f"faithfulness of the bag {name} not measured: {reason_of(error)}")
            continue
        document = measured.as_dict()
        first = {key: document[key] for key in ("format", "format_version")}
        found[name] = first | {"slide_id": work.job.slide_id, "bag": name} | document
    return found
