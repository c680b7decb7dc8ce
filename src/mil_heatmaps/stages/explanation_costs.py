"""What the explanations of a slide will cost, told before any is begun; touches nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mil_heatmaps.errors import FeatureError, HeatmapError, ModelError
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.explanations import asked_explanations, settings_of
from mil_heatmaps.stages.slide_facts import told_of

if TYPE_CHECKING:
    from mil_heatmaps.explain.lattice import Lattice
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel


_SHORT_S = 0.5


class ExplanationCosts:
    """Tells costs slide by slide. One forward is timed, of the first slide whose features are there."""

    def __init__(self) -> None:
        self._seconds_a_patch: float | None = None

    def of(self, work: SlideWork) -> tuple[list[str], str | None]:
        """Return a line for each explanation that the config asks for, and why one of them will be refused."""
        names = asked_explanations(work)
        path = work.features_path
        if not names or not path.is_file():
            return [f"{name}: the cost is known when the slide's patches are there" for name in names], None
        from mil_heatmaps.explain.estimates import check_cost, check_window, choose_window, cost_of
        from mil_heatmaps.features.read import feature_info
        from mil_heatmaps.models.explaining import chosen_settings, exact_passes

        encoder = work.config.model_arguments.slide_encoder  # own code, which is not run here: no time is known
        model = None if encoder else work.settings.model.load(work.settings.device)
        settings = chosen_settings({**settings_of(work), "task": work.config.model_arguments.task})
        try:
            n, width = (info := feature_info(path)).n, info.width
        except HeatmapError:
            return [], None  # said as the slide's problem
        passes = None if model is None else exact_passes(model, width)
        seconds = 0.0 if passes is not None or model is None else self._seconds(work, model) * n
        lines, problem, windows = [], None, None
        for name in names:
            try:
                if name == "occlusion" and passes is None and (lattice := _lattice(work)) is not None:
                    window, stride = choose_window(lattice, settings, exact=False)
                    check_window(window, stride)
                    windows = lattice.count_windows(window, stride)
                cost = cost_of(name, n, settings, passes=passes, windows=windows)
                check_cost(cost, settings, None if model is None else seconds)
            except ModelError as error:
                problem = problem or str(error)
                continue
            lines.append(f"{name}: {cost.with_time(seconds) if seconds or not cost.forwards else cost.words}")
        return lines, problem

    def _seconds(self, work: SlideWork, model: MILModel) -> float:
        """Return what one forward takes, by patch."""
        if self._seconds_a_patch is None:
            features = work.bag_features()
            with told_of(work, model):
                seconds = _timed(model, features)
                if seconds < _SHORT_S:  # the first forward of a process takes longer
                    seconds = _timed(model, features)
            self._seconds_a_patch = seconds / max(1, len(features.features))
        return self._seconds_a_patch


def _timed(model: MILModel, features: PatchFeatures) -> float:
    started = time.perf_counter()
    model.explain(features, [])
    return time.perf_counter() - started


def _lattice(work: SlideWork) -> Lattice | None:
    """Return where the slide's patches lie, None where only reading the features tells."""
    from mil_heatmaps.features.read import read_coords
    from mil_heatmaps.models.explaining import lattice_of

    size = work.config.data_arguments.patch_size_level0
    try:
        grid = read_coords(work.features_path, patch_size_l0=size, space=work.space)
    except FeatureError:
        return None
    return lattice_of(grid, len(grid), None, None)
