"""The faithfulness of the drawn map, for the figure's foot and the exports, and the outlined evidence set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.records.slide_record import output_path
from mil_heatmaps.stages.case_scores import case_file, has_case_bag
from mil_heatmaps.words import fine_share

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mil_heatmaps.slides.tissue import TissueMask
    from mil_heatmaps.stages.base import SlideWork

EVIDENCE_SETS = ("p90_of_full", "class")
"""The first of these sets that exists is outlined and exported."""

_FINE = "Measured on the slide's own patches; the map shows finer ones."


@dataclass(frozen=True)
class Foot:
    """The measurements of the drawn map.

    Attributes
    ----------
    document : mapping
        ``S_faithfulness.json``.
    name : str
        Name of the drawn map.
    """

    document: Mapping[str, Any]
    name: str
    fine: bool = False

    @property
    def entry(self) -> Mapping[str, Any]:
        """What the document says of the drawn map."""
        entry: Mapping[str, Any] = self.document["maps"][self.name]
        return entry

    @property
    def verdict(self) -> str:
        """The verdict, or why there is none."""
        return str(self.entry.get("verdict", self.entry["status"]))

    @property
    def sentence(self) -> str:
        """The sentence of the drawn map."""
        said = str(self.entry["foot"])
        return f"{said} {_FINE}" if self.fine and self.entry["status"] == "measured" else said

    def of(self, column: str) -> Foot:
        """Return the measurements of a drawn column that is a map by itself; for any other column, this object."""
        return replace(self, name=column) if column in self.document["maps"] else self

    def sentence_at(self, column: str) -> str:
        """Return the sentence beside one of several drawn columns, which may be of another class or head."""
        target = str(self.document["target"]["name"])
        if column in (target, self.name) or self.entry["status"] != "measured":
            return self.sentence
        return f"Measured of {target}, whose map this is not ({column}): {self.sentence}"

    @property
    def method(self) -> str:
        """How it was measured, empty where it was not."""
        return str(self.entry.get("method", ""))

    def metadata(self) -> dict[str, Any]:
        """Return what exports say of the map, as JSON values."""
        numbers = {key: self.entry[key] for key in ("srg", "p_value") if key in self.entry}
        target = self.document["target"]["name"]
        told = {"map": self.name, "target": target, "verdict": self.verdict, "sentence": self.sentence}
        return told | {"method": self.method} | numbers

    def lines(self) -> list[str]:
        """Return the lines of plain-text metadata."""
        return [text for text in (f"Faithfulness of {self.name}: {self.verdict}. {self.sentence}", self.method) if text]


def foot_of(work: SlideWork, bag: str = "") -> Foot | None:
    """Return the measurements of the drawn map, None where none are asked for or there are none.

    `bag` names a bag other than the first, for a model that takes several.
    """
    if not work.config.faithfulness_arguments.wanted:
        return None
    paths, bag = work.job.paths, bag or work.bag
    document = read_document(paths.faithfulness_of(bag) if bag else paths.faithfulness_json)
    if document is None:
        return None
    drawn = next((name for name, entry in document["maps"].items() if entry.get("drawn")), None)
    return None if drawn is None else Foot(document, drawn, work.wants_fine_map)


def read_document(path: Path) -> dict[str, Any] | None:
    """Return ``S_faithfulness.json``, None if it is missing or not such a document."""
    try:
        document = json.loads(path.read_bytes())
        return document if all(isinstance(entry["foot"], str) for entry in document["maps"].values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def foot_inputs(work: SlideWork) -> dict[str, Any] | None:
    """Return what figure and exports depend on besides the map, None where nothing is measured."""
    foot = foot_of(work)
    if foot is None:
        return None
    said = {key: value for key, value in foot.document.items() if key not in ("seconds",)}
    evidence = work.config.heatmap_arguments.evidence
    notices = [notice.plain() for notice in work.record.notices_of("faithfulness")]
    bags = {name: foot_of(work, name) for name in work.config.bags[1:]}
    feet = {name: fingerprint({**other.document, "seconds": 0}) for name, other in bags.items() if other is not None}
    return {
        **({"bags": feet} if feet else {}),
        "measured": fingerprint(said),
        **({"evidence": evidence} if evidence != "none" else {}),
        **({"notices": notices} if notices else {}),
    }


@dataclass(frozen=True)
class Evidence:
    """The evidence set of the drawn map.

    Attributes
    ----------
    kind : str
        One of `EVIDENCE_SETS`.
    numbers : mapping
        As in the document.
    patches : (k,) ints
        Most relevant first.
    """

    kind: str
    numbers: Mapping[str, Any]
    patches: npt.NDArray[np.int64]
    work: SlideWork
    foot: Foot

    @property
    def words(self) -> str:
        """What the outline shows."""
        area = "" if self.numbers["mm2"] is None else f", {self.numbers['mm2']:.2g} mm²"
        target = self.foot.document["target"]["name"]
        kept = f"0.9 of p({target})" if self.kind == "p90_of_full" else "the predicted class"
        count = self.numbers["patches"]
        noun, keep = ("patch", "keeps") if count == 1 else ("patches", "keep")
        share = fine_share(self.numbers["share"]) + area
        said = f"Outlined: the evidence set, {count} {noun} ({share}) that alone {keep} {kept}"
        if self.work.score_file.case is not None and len(self.work.score_file.case.slides) > 1:
            said = f"{said} of the case; {len(self.patches)} of them on this slide"
        return f"{said}: sufficient for this model."

    @cached_property
    def regions(self) -> list[Any]:
        """The patches merged where they touch, as `Region`; the numbers of patches are the bag's."""
        import numpy as np

        from mil_heatmaps.export.regions import merge_patches

        chosen = np.zeros(len(self.work.score_file.grid), bool)
        chosen[self.patches] = True
        return merge_patches(self.work.score_file.grid, chosen)

    @property
    def outlines(self) -> TissueMask:
        """The regions as outlines with holes, level-0 pixels."""
        import numpy as np

        from mil_heatmaps.slides.tissue import TissueMask

        rings = [[ring[:-1, None].astype(np.int32) for ring in region.rings_l0] for region in self.regions]
        return TissueMask(tuple(ring[0] for ring in rings), tuple(tuple(ring[1:]) for ring in rings))


def evidence_of(work: SlideWork) -> Evidence | None:
    """Return the evidence set to be outlined; None where it is not asked for, or no set is sufficient."""
    if work.config.heatmap_arguments.evidence == "none" or (foot := foot_of(work)) is None:
        return None
    found = foot.entry.get("evidence") or {}
    kind = next((kind for kind in EVIDENCE_SETS if found.get(kind)), None)
    if kind is None:
        return None
    from mil_heatmaps.scores.select import column_of_target, most_relevant_first, of_head
    from mil_heatmaps.stages.measured_maps import kept_maps

    # The measurement is of the bag, which may be that of a case: the slide shows its own part of the evidence set.
    bag = case_file(work.job.case.paths.scores_h5) if has_case_bag(work) and work.job.case else work.score_file
    kept = kept_maps(bag, work.config.output_names)
    scores = of_head(kept[foot.name], work.config.heatmap_arguments.head)
    target, prediction = foot.document["target"]["name"], work.score_file.prediction
    targets = prediction.classes if prediction is not None and target in prediction.classes else (target,)
    order = most_relevant_first(column_of_target(scores, targets, targets.index(target)))
    patches = order[: found[kind]["patches"]]
    if bag.case is not None and work.score_file.case is not None:
        rows = bag.case.rows(work.score_file.case.number)
        patches = patches[(patches >= rows.start) & (patches < rows.stop)] - rows.start
    return Evidence(kind, found[kind], patches, work, foot)


def kept_outputs(
    work: SlideWork, stage: str, inputs: Mapping[str, Any], part: str, is_part: Callable[[str], bool]
) -> list[Path] | None:
    """Return the files of an earlier run that are still valid if nothing but ``inputs[part]`` has changed.

    Parameters
    ----------
    is_part : key of an output -> bool
        Whether the output depends on that part, and must be written again.

    Returns
    -------
    list of paths, or None
        None: everything must be done.
    """
    previous = work.record.stages.get(stage)
    if previous is None or work.forced:
        return None
    now, then = (json.loads(json.dumps(dict(each))) for each in (inputs, previous.inputs))
    now.pop(part, None)
    then.pop(part, None)
    if now != then:
        return None
    raw = str(work.job.paths.raw)
    kept = {output_path(raw, key): output for key, output in previous.outputs.items() if not is_part(key)}
    return [Path(path) for path in kept] if all(output.matches(path) for path, output in kept.items()) else None
