"""The sentences under a map: how far readers can believe it, in everyday numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import TASKS_WITH_CHANCES
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import alike, fine_share, number_words, time_words

if TYPE_CHECKING:
    import numpy.typing as npt

_OPENING = {
    "better than random": "",
    "no better than random": "No better than random on this slide: ",
    "worse than random": "Worse than random on this slide: ",
}
_MAY_BE_ZERO = ("leave_one_out", "gradient_x_input", "integrated_gradients")
"""Scores that are 0 for all patches but one, if that patch alone makes the prediction."""


def quantity(target: str, task: str, output: str, *, chances: bool = True) -> str:
    """Return the name of the numbers in a sentence: ``p(tumour)``, a regression's output, the risk.

    Without `chances`, no probability of a class follows from its logits (DSMIL's ``average``), and the log-odds are
    named.
    """
    if task in TASKS_WITH_CHANCES:
        return f"p({target})" if chances else f"the {'logit' if output == 'logit' else 'log-odds'} of {target}"
    return f"log-odds of the event in {target}" if task == "survival" and output == "logit" else target


def number(value: float, *, chance: bool) -> str:
    """Return a probability with two decimals, never as certain; any other number with four digits."""
    if not chance:
        return number_words(value)
    text = f"{value:.2f}"
    return {"1.00": "> 0.99", "0.00": "< 0.01"}.get(text, text)


def verdict_sentence(found: Mapping[str, Any], full: Mapping[str, float], target: str, task: str, output: str) -> str:
    """Return the sentence of one measured map.

    Parameters
    ----------
    found : mapping
        The map's entry in the JSON document.
    full : mapping
        The whole bag's numbers, by output.
    """
    status = found["status"]
    if status == "constant map":
        return "All patches have the same score: this map shows no order."
    if status == "too few patches":
        return f"Too few patches ({found['scored_patches']}) to measure."
    if status == "failed":
        return f"Faithfulness not measured: {found['error']}"
    chances = "probability" in full
    top, whole = found["top5"], full["probability" if chances else output]
    suffix = "_probability" if chances else ""
    after = top["probability" if suffix else "value"]
    middle, low, high = (number(top[f"random{suffix}{end}"], chance=chances) for end in ("", "_low", "_high"))
    opening = _OPENING[found["verdict"]]
    which = "Removing the top 5 % of this map" if not opening else "removing its top 5 %"
    change = _change(whole, after, quantity(target, task, output, chances=chances), chances)
    return f"{opening}{which} {change}; random 5 %: {middle} ({low} to {high})."


def _change(before: float, after: float, what: str, chances: bool) -> str:
    old, new = number(before, chance=chances), number(after, chance=chances)
    if old == new:
        return f"leaves {what} at {new}"
    return f"{'drops' if after < before else 'raises'} {what} from {old} to {new}"


def not_measured_sentence(seconds: float | None) -> str:
    """Return the sentence where no measurement was started: `seconds` it would take, None without a prediction."""
    if seconds is None:
        return "Faithfulness not measured: there is no prediction."
    return f"Faithfulness not measured: about {time_words(seconds)} here; --faithfulness full does it."


def method_line(found: Mapping[str, Any], random_srg: list[float], steps: int, output: str) -> str:
    """Return how a map was measured, for the small print below the sentence; empty where it was not."""
    if found["status"] != "measured":
        return ""
    reach = max(map(abs, random_srg), default=0.0)
    srg, low, high = alike(found["srg"], -reach, reach)
    shown = {"log_odds": "log-odds"}.get(output, output)
    return f"{steps} steps, {len(random_srg)} random orders; SRG {srg}, random {low} to {high} ({shown})"


def check_sentences(score: str, checks: Mapping[str, Any], target: int = 0) -> list[str]:
    """Return the sentences that must stand beside one column of an explanation's map."""
    said = []
    if score == "integrated_gradients" and checks and not checks["complete"][target]:
        said.append(f"The map adds up to within {fine_share(checks['residual'][target])} only.")
    r2 = checks["r2"][target] if score == "mask_regression" and checks else None
    if r2 is not None and r2 < 0.5:
        share = max(0.0, r2)
        said.append(f"A sum over patches explains only {100 * share:.0f} % of the model here.")
    return said


def one_patch_sentence(score: str, values: npt.NDArray[np.floating]) -> list[str]:
    """Return the sentence beside one column (N,) of an explanation that is 0 for all patches but one."""
    known = values[~np.isnan(values)]
    if score not in _MAY_BE_ZERO or len(known) < 2 or (known != 0).sum() != 1:
        return []
    return ["One patch alone makes this prediction, so every other patch has 0."]


def sign_sentence(score: str, target: str, task: str, output: str, up: str = "red", down: str = "blue") -> str:
    """Return what the two colours of a signed map mean: ``red raises p(tumour), blue lowers it``."""
    what = quantity(target, task, output)
    if task in TASKS_WITH_CHANCES and output == "logit":
        what = f"the logit of {target}"
    if score == "single":
        return f"{up}: the patch alone speaks for {target}, {down}: against it"
    return f"{up} raises {what}, {down} lowers it"
