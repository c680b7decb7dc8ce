"""Survival models in the page: a risk is shown as a risk, sorted as a number, and is neither right nor wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mil_heatmaps.models.inference import predict
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from tests.helpers.browser import SIZE, Open
from tests.helpers.viewer import running, write_score_file


def test_a_risk_is_shown_as_a_risk_and_sorted_as_a_number(open_page: Open, tiny_slide: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    prediction = predict(np.array([0, 0, np.log(3)], np.float32), task="survival")
    write_scores(path, replace(write_score_file(path, SIZE), prediction=prediction))
    risks = {"high": -0.5, "low": -10.0, "tiny": prediction.risk}
    entries = [
        SlideEntry(
            name, tiny_slide, (NamedFile(path, "scores"),), label="23.5", prediction=f"risk {risk:.4g}", number=risk
        )
        for name, risk in risks.items()
    ]
    with running(Catalog("test", tuple(entries))) as viewer:
        page = open_page("", link=viewer.link)
        told = page.text_content(".facts")
        assert "risk \N{MINUS SIGN}0.8125 (minus the sum of 3 survival probabilities)" in told
        assert "S_0 50.0%, S_1 25.0%, S_2 6.2%" in told
        assert page.query_selector(".badge.wrong") is None
        page.select_option("#cohort select", "prediction")
        names = page.eval_on_selector_all(".slide-name", "(all) => all.map((e) => e.textContent)")
        assert names == ["low", "tiny", "high"]
