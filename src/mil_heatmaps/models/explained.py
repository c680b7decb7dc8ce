"""The explanations that every model offers: `explain`, `faithfulness`, and the small methods behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.faithfulness import Faithfulness
from mil_heatmaps.explain.rows import Places, Rows
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.explain.watch import Watch
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.models import explaining
from mil_heatmaps.models.explaining import places_of
from mil_heatmaps.models.explanation import BagResult, Explanation, Features
from mil_heatmaps.models.faithful import faithfulness as measure_faithfulness
from mil_heatmaps.notices import Notice


class ExplainedModel(nn.Module):
    """The part of `MILModel` that runs the model on parts of a bag."""

    num_classes: int
    independent: ClassVar[bool] = False
    chances_of_logits: bool = True

    # -- what a family supplies
    # -----------------------------------------------------------------------------

    def exact_form(self, rows: Rows) -> Form | None:
        """Return the closed form of the logits of any part of the bag, None where there is none."""
        return None

    def unexplained(self) -> str | None:
        """Return why the model cannot be explained, None if it can."""
        return None

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Pass over `bag` once; see `MILModel`."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The type's name, for messages."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        raise NotImplementedError

    def _chosen(self, scores: str | Sequence[str] | None) -> list[str]:
        raise NotImplementedError

    def _check_features(self, features: Features) -> None:
        raise NotImplementedError

    def _explain_own(
        self, features: Features, names: list[str], class_names: Sequence[str] | None, places: Places | None = None
    ) -> Explanation:
        raise NotImplementedError

    def remarks(self, names: Sequence[str]) -> list[Notice]:
        """Return the notices that belong to the scores `names` of this model, whatever their values."""
        return []

    # -- what every model then has
    # -----------------------------------------------------------------------------

    def refused_explanations(self) -> dict[str, str]:
        """Return the explanations this model cannot give, with the reason."""
        return explaining.refused(not self.num_classes, self.unexplained())

    def explain(
        self,
        features: Features,
        scores: str | Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        *,
        targets: Any = "all",
        settings: Mapping[str, Any] | None = None,
        coords_l0: Any = None,
        step_l0: Any = None,
        mpp: float | None = None,
        watch: Watch | None = None,
    ) -> Explanation:
        """Return logits and patch scores of one bag.

        The model's own scores come from one pass. The six explanations (`EXPLANATIONS`) run the model on parts of the
        bag, or take derivatives; the result holds their checks.

        Parameters
        ----------
        features : PatchFeatures, array or tensor of shape (N, D)
            float16 is widened slice by slice. Runs on the model's own device and in its own dtype.
        scores : names, optional
            From `score_names()`; the default score when left out. An empty list gives the logits only.
        class_names : C names, optional
            Names for the columns of per-class scores, and for targets.
        targets : "all", "predicted", a name, a number, or a list
            Columns of the explanations; other scores keep theirs.
        settings : dict, optional
            Keys of `explanation_arguments`, and ``task``.
        coords_l0, step_l0 : (N, 2), and (x, y) or a number; optional
            Level-0 corners of the patches of bare features, and the distance between neighbours. Models that use
            coordinates get the corners.
        mpp : float, optional
            Micrometres per level-0 pixel, for models that take micrometres, if the features do not say.
        watch : Watch, optional
            Follows the progress of long scores, and may stop them and resume them later.

        Raises
        ------
        FeatureError
            Wrong width, or an empty bag.
        ModelError
            A score the model does not have, a wrong number of class names, a result that is not finite, or an
            explanation that lacks something or takes more forwards than allowed.
        """
        names = self._chosen(scores)
        asked = [name for name in names if name in EXPLANATIONS]
        if not asked:
            return self._explain_own(features, names, class_names, places_of(features, coords_l0, mpp))
        self._check_features(features)
        found = explaining.explain(
            self, features, asked, class_names,
            targets=targets, settings=settings, coords_l0=coords_l0, step_l0=step_l0, mpp=mpp, watch=watch,
        )  # fmt: skip
        if len(asked) == len(names):
            return found
        rest = [name for name in names if name not in EXPLANATIONS]
        own = self._explain_own(features, rest, class_names, places_of(features, coords_l0, mpp))
        scores_of = {name: (found.scores | own.scores)[name] for name in names}
        return replace(found, logits=own.logits, scores=scores_of, probabilities=own.probabilities)

    def faithfulness(
        self,
        features: Features,
        maps: Sequence[str] | Mapping[str, Any],
        class_names: Sequence[str] | None = None,
        *,
        target: str | int = "predicted",
        level: str = "quick",
        settings: Mapping[str, Any] | None = None,
        drawn: str | None = None,
        mpp: float | None = None,
        coords_l0: Any = None,
        step_l0: Any = None,
        remarks: Mapping[str, list[str]] | None = None,
        watch: Watch | None = None,
    ) -> Faithfulness:
        """Return how faithful maps are: the model's output as patches are removed in each map's order, and at random.

        Parameters
        ----------
        maps : names of scores, or name -> (N,) numbers of any origin or PatchScores
            For scores, the column of the target is measured; for several heads, their mean.
        target : "predicted", a name or a number
        level : "quick" or "full"
        settings : dict, optional
            Keys of `faithfulness_arguments`, ``output`` and ``task``.
        drawn : str, optional
            The map that is drawn: its sentence is the foot. The first map when left out.
        mpp : float, optional
            Micrometres per level-0 pixel, for the area of evidence sets.
        remarks : name -> sentences, optional
            Further remarks on maps that are given as numbers.

        Raises
        ------
        ModelError
            A headless or random model, an unknown map, setting or target, or a map of the wrong length.
        """
        self._check_features(features)
        if reasons := self.refused_explanations():
            raise ModelError(f"faithfulness cannot be measured: {next(iter(reasons.values()))}")
        task = {key: value for key, value in (settings or {}).items() if key in ("output", "task")}

        def explain(names: list[str], index: int | str) -> Explanation:
            return self.explain(features, names, class_names, targets=index, settings=task,
                                coords_l0=coords_l0, step_l0=step_l0, mpp=mpp, watch=watch)  # fmt: skip

        return measure_faithfulness(
            self, explain, features, maps, class_names,
            target=target, level=level, settings=settings, drawn=drawn, mpp=mpp, coords_l0=coords_l0,
            remarks=remarks, watch=watch,
        )  # fmt: skip

    def bag_logits(self, bag: Bag, places: Places | None = None) -> Tensor:
        """Return the logits (C,) of a bag, without gradients. Few models use `places`."""
        logits = self.explain_bag(bag, frozenset()).logits
        if logits is None:
            raise ModelError(f"{self.title} gives no logits: {explaining.NO_CLASSIFIER}")
        return logits.reshape(-1)

    def differentiable_logits(self, x: Tensor, places: Places | None = None) -> Tensor:
        """Return the logits (C,) of features (N, D), with gradients."""
        logits: Tensor = self.forward(x.unsqueeze(0))[0]["logits"]
        return logits.reshape(-1)
