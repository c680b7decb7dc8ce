"""How faithful maps are: a model's output while patches are removed in the order of each map and in random orders."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mil_heatmaps.choices import TASKS_WITH_CHANCES
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Answers
from mil_heatmaps.explain.curves import Curves, area_under, ladder, measure_curves, random_orders
from mil_heatmaps.explain.evidence import AreaOf, Found, evidence_sets
from mil_heatmaps.explain.faithfulness_plan import Plan, forwards_needed, top5
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.rows import Floats, Ints
from mil_heatmaps.explain.sentences import method_line, not_measured_sentence, one_patch_sentence, verdict_sentence
from mil_heatmaps.explain.verdicts import FEWEST, enough_at, flip_at, p_value, verdict
from mil_heatmaps.explain.watch import SILENT, Watch
from mil_heatmaps.scores.select import most_relevant_first

FORMAT, FORMAT_VERSION = "mil-heatmaps faithfulness", 1
_BATCH = 32
"""Orders measured at a time."""


@dataclass(frozen=True)
class Faithfulness:
    """The measured faithfulness of one slide.

    Attributes
    ----------
    document : dict
        The JSON document of the specification, without the slide's own fields.
    evidence : map -> set -> patches
        Patches of the existing evidence sets, most relevant first.
    """

    document: dict[str, Any]
    evidence: dict[str, dict[str, Ints]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return self.document

    def sentence(self, name: str) -> str:
        """Return the sentence about the map `name`."""
        return str(self.document["maps"][name]["foot"])

    def method(self, name: str) -> str:
        """Return in one line how the map was measured; empty where it was not."""
        return str(self.document["maps"][name].get("method", ""))


def measure(
    answers: Answers,
    maps: Mapping[str, npt.NDArray[np.floating]],
    outputs: Outputs,
    probability: Outputs | None,
    plan: Plan,
    *,
    drawn: str | None = None,
    target_index: int = 0,
    area: AreaOf = lambda patches: None,
    seconds_a_forward: float = 0.0,
    remarks: Mapping[str, list[str]] | None = None,
    watch: Watch = SILENT,
) -> Faithfulness:
    """Return curves, verdicts and evidence sets of maps of one bag.

    Parameters
    ----------
    maps : name -> (N,) numbers
        Larger is more relevant; patches with NaN always stay.
    outputs, probability : Outputs
        One column each: the target's output and, for a classification, its probability.
    drawn : str, optional
        The map that is drawn; by default the first. Its sentence is the foot of the document.
    seconds_a_forward : float
        Time of one forward of the whole bag, for the estimate.
    remarks : name -> sentences
        Further sentences about a map.
    """
    if drawn is not None and drawn not in maps:
        raise ModelError(f"the drawn map {drawn!r} is not among the maps to measure: {', '.join(maps) or 'none'}")
    with torch.no_grad():
        return _Measurement(answers, outputs, probability, plan, area, watch, remarks or {}).run(
            maps, drawn or next(iter(maps), ""), target_index, seconds_a_forward
        )


@dataclass
class _Measurement:
    answers: Answers
    outputs: Outputs
    probability: Outputs | None
    plan: Plan
    area: AreaOf
    watch: Watch
    remarks: Mapping[str, list[str]]

    def run(
        self, maps: Mapping[str, npt.NDArray[np.floating]], drawn: str, target_index: int, seconds_a_forward: float
    ) -> Faithfulness:
        start, n = time.perf_counter(), len(self.answers)
        for name, values in maps.items():
            if np.shape(values) != (n,):
                raise ModelError(f"the map {name!r} has shape {np.shape(values)}; the bag needs ({n},), one per patch")
        orders = {name: most_relevant_first(np.asarray(values)) for name, values in maps.items()}
        entries = {name: self._status(np.asarray(maps[name]), len(order)) for name, order in orders.items()}
        wanted = [name for name, entry in entries.items() if entry["status"] == "measured"]
        groups: dict[bytes, list[str]] = {}  # maps that score the same patches share their random orders
        for name in sorted(wanted, key=lambda name: -len(orders[name])):
            groups.setdefault(np.sort(orders[name]).tobytes(), []).append(name)
        seconds = self._estimate([len(orders[name]) for name in wanted], seconds_a_forward)
        if self.plan.level == "quick" and seconds > 60 * self.plan.max_minutes:
            for name in wanted:
                entries[name] |= {"status": "not measured", "verdict": "not measured"}
            groups = {}
        before = self.answers.forwards
        shared: dict[str, Any] = {}
        evidence: dict[str, dict[str, Ints]] = {}
        in_evidence = 0
        for number, names in enumerate(groups.values()):
            length = len(orders[names[0]])
            curves = self._curves([orders[name] for name in names], length, f"group {number}")
            curved = self.answers.forwards
            random = Curves(curves.removed, curves.morf[len(names) :], curves.lerf[len(names) :])
            common = self._random(random, length)
            shared = shared or common
            for i, name in enumerate(names):
                mine = Curves(curves.removed, curves.morf[i : i + 1], curves.lerf[i : i + 1])
                entries[name] |= self._map(mine, random, length)
                if common is not shared:
                    entries[name] |= common
                if self.probability is not None:
                    sets = self._evidence(orders[name], mine)
                    entries[name]["evidence"] = {key: s and s.numbers for key, s in sets.items()}
                    evidence[name] = {key: s.patches for key, s in sets.items() if s}
            in_evidence += self.answers.forwards - curved
        said = {name: one_patch_sentence(name, np.asarray(values)) for name, values in maps.items()}
        self.remarks = {name: [*said[name], *self.remarks.get(name, [])] for name in maps}
        document = self._document(entries, shared, drawn, target_index, seconds)
        document["forwards"] = self.answers.forwards - before - in_evidence
        document["evidence_forwards"] = in_evidence
        document["seconds"] = time.perf_counter() - start
        return Faithfulness(document, evidence)

    def _status(self, values: npt.NDArray[np.floating], scored: int) -> dict[str, Any]:
        known = values[~np.isnan(values)]
        status = "measured"
        if scored < FEWEST:
            status = "too few patches"
        elif (known == known[0]).all():
            status = "constant map"
        entry: dict[str, Any] = {"drawn": False, "scored_patches": scored, "status": status}
        return entry if status == "measured" else entry | {"verdict": status}

    def _estimate(self, scored: list[int], seconds_a_forward: float) -> float:
        if self.answers.exact or not scored:
            return 0.0
        return forwards_needed(len(scored), self.plan, max(scored)) * seconds_a_forward / 2

    def _curves(self, orders: list[Ints], n: int, group: str) -> Curves:
        steps, count = self.plan.size
        rungs = np.union1d(ladder(n, steps), [top5(n)])
        scored = np.sort(orders[0])
        every = np.concatenate([np.stack(orders), scored[random_orders(n, count, self.plan.seed)]])
        parts = [
            measure_curves(self.answers, every[i : i + _BATCH], rungs, self.watch.named(f"{group}, curves {i}"))
            for i in range(0, len(every), _BATCH)
        ]
        return Curves(rungs, np.concatenate([p.morf for p in parts]), np.concatenate([p.lerf for p in parts]))

    def _numbers(self) -> dict[str, Outputs]:
        named: dict[str, Outputs] = {self.outputs.name: self.outputs}
        return named if self.probability is None else named | {"probability": self.probability}

    def _random(self, curves: Curves, n: int) -> dict[str, Any]:
        removed = ladder(n, self.plan.size[0])
        at = curves.at(removed)
        made: dict[str, Any] = {"srg": self._srg(at, self.outputs, n).tolist()}
        for name, outputs in self._numbers().items():
            both = outputs.of(np.concatenate([at.morf, at.lerf]))[..., 0]
            low, high = np.percentile(both, [2.5, 97.5], axis=0)
            made[name] = {"mean": both.mean(axis=0).tolist(), "low": low.tolist(), "high": high.tolist()}
        return {"removed": removed.tolist(), "fractions": (removed / n).tolist(), "random": made}

    def _srg(self, at: Curves, outputs: Outputs, n: int) -> Floats:
        areas = [area_under(outputs.of(curve)[..., 0], at.removed, n) for curve in (at.lerf, at.morf)]
        return np.asarray(areas[0] - areas[1])

    def _map(self, curves: Curves, random: Curves, n: int) -> dict[str, Any]:
        removed = ladder(n, self.plan.size[0])
        at = curves.at(removed)
        chance = self._srg(random.at(removed), self.outputs, n)
        srg = float(self._srg(at, self.outputs, n)[0])
        made: dict[str, Any] = {"verdict": verdict(srg, chance), "p_value": p_value(srg, chance), "srg": srg}
        if self.probability is not None:
            made["srg_probability"] = float(self._srg(at, self.probability, n)[0])
        morf, lerf = self.outputs.of(at.morf[0])[:, 0], self.outputs.of(at.lerf[0])[:, 0]
        made["auc_morf"] = float(area_under(morf, removed, n))
        made["auc_lerf"] = float(area_under(lerf, removed, n))
        for key, curve in (("morf", at.morf[0]), ("lerf", at.lerf[0])):
            made[key] = {name: outputs.of(curve)[:, 0].tolist() for name, outputs in self._numbers().items()}
        is_class, decided = self.outputs.task in TASKS_WITH_CHANCES, self.outputs.decided
        made["flip_at"] = flip_at(decided(at.morf[0]), removed, n) if is_class else None
        made["enough_at"] = enough_at(decided(at.lerf[0]), removed, n) if is_class else None
        return made | {"top5": self._top(curves, random, n)}

    def _top(self, curves: Curves, random: Curves, n: int) -> dict[str, Any]:
        k = np.array([top5(n)])
        mine, chance = curves.at(k), random.at(k)
        made: dict[str, Any] = {"removed": int(k[0])}
        for key, tail, outputs in (("value", "", self.outputs), ("probability", "_probability", self.probability)):
            if outputs is None:
                continue
            drawn = outputs.of(np.concatenate([chance.morf, chance.lerf]))[:, 0, 0]
            low, high = np.percentile(drawn, [2.5, 97.5])
            made[key] = float(outputs.of(mine.morf[0])[0, 0])
            made |= {f"random{tail}": float(drawn.mean()), f"random{tail}_low": float(low),
                     f"random{tail}_high": float(high)}  # fmt: skip
        return made

    def _evidence(self, order: Ints, curves: Curves) -> dict[str, Found | None]:
        n, removed = len(order), curves.removed
        counts, logits = (n - removed)[::-1], curves.lerf[0][::-1]
        if n < len(self.answers):  # the curves always keep unscored patches; evidence alone is measured without them
            logits = np.stack([self.answers.of(np.sort(order[:k])) for k in counts])
        if self.probability is None:
            return {}
        return evidence_sets(self.answers, self.probability, order, counts, logits, self.area)

    def _document(
        self, entries: dict[str, dict[str, Any]], shared: dict[str, Any], drawn: str, index: int, seconds: float
    ) -> dict[str, Any]:
        task, output, target = self.outputs.task, self.outputs.name, self.outputs.targets[0]
        logits = self.answers.full()
        full = {name: float(outputs.of(logits)[0]) for name, outputs in self._numbers().items()}
        steps, orders = self.plan.size
        for name, entry in entries.items():
            entry["drawn"] = name == drawn
            chance = entry.get("random", shared.get("random", {})).get("srg", [])
            if entry["status"] == "not measured":
                entry["foot"] = not_measured_sentence(seconds)
            else:
                said = [verdict_sentence(entry, full, target, task, output), *self.remarks.get(name, [])]
                entry["foot"] = " ".join(said)
            entry["method"] = method_line(entry, chance, steps, output)
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "num_patches": len(self.answers),
            "task": task,
            "target": {"index": index, "name": target},
            "output": output,
            "full": full,
            "level": self.plan.level,
            "seed": self.plan.seed,
            "steps": steps,
            "random_orders": orders,
            "removed": shared.get("removed", []),
            "fractions": shared.get("fractions", []),
            "maps": entries,
            "random": shared.get("random", {}),
            "foot": entries[drawn]["foot"] if drawn in entries else "",
        }
