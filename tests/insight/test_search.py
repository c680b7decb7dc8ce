"""Where else: exact cosine, few patches a slide, a list and a sheet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.insight.search import similarities, where_else
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from tests.helpers.cohort import make_small_cohort, write_features


def test_the_highest_cosines_are_found_at_most_three_a_slide_and_never_the_patch_itself() -> None:
    rng = np.random.default_rng(0)
    slides = {name: rng.normal(size=(40, 8)).astype(np.float16) for name in "abc"}
    query = slides["a"][5]
    said: list[str] = []
    given = [*slides.items(), ("d", np.zeros((3, 5)))]
    found = where_else(
        query, ((name, lambda values=values: values) for name, values in given), most=7, but=("a", 5), say=said.append
    )
    cosines = {name: similarities(values, query) for name, values in slides.items()}
    every = [(float(c), name, row) for name, of in cosines.items() for row, c in enumerate(of)]
    every.remove((float(cosines["a"][5]), "a", 5))
    expected: list[tuple[float, str, int]] = []
    for one in sorted(every, reverse=True):
        if sum(other[1] == one[1] for other in expected) < 3:
            expected.append(one)
    assert [(f.slide_id, f.row) for f in found] == [(name, row) for _, name, row in expected[:7]]
    assert said == ["d: left out, features are 5 wide, the patch's are 8"]
    wide = slides["b"].astype(np.float64)
    cosine = wide @ query.astype(float) / np.linalg.norm(wide, axis=1) / np.linalg.norm(query.astype(float))
    np.testing.assert_allclose(similarities(slides["b"], query), cosine, atol=1e-5)


def test_a_list_and_a_sheet_are_written_and_a_slide_of_another_width_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = make_small_cohort(tmp_path)
    assert main(["--config", str(cohort.write())]) == 0
    write_features(cohort.features / "s3.h5", 3, width=24)
    capsys.readouterr()
    assert main(["--insight", str(cohort.raw), "--where_else", "s1", "300", "200"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 slides to look through, about ")
    assert "s3: left out, features are 24 wide, the patch's are 16" in out
    stem = cohort.production / "insight" / "where_else_s1_256_128"
    with stem.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["slide_id"] for row in rows) == ["s1"] * 3 + ["s2"] * 3
    assert [float(row["cosine"]) for row in rows] == sorted((float(row["cosine"]) for row in rows), reverse=True)
    told = json.loads(stem.with_suffix(".json").read_text())
    assert (told["query"]["x"], told["query"]["y"], len(told["patches"])) == (256, 128, 6)
    assert Image.open(stem.with_suffix(".png")).width > 1500
    content = Content(catalog_of_runs([cohort.raw]))
    assert content.index("")["lists"] is True
    (listed,) = content.lists()
    assert listed["title"] == "like s1 (256, 128)"
    first, *others = listed["patches"]
    assert (first["slide"], first["box"], len(others)) == (0, [256, 128, 128, 128], 6)
    assert {patch["slide"] for patch in others} == {0, 1}
    assert Image.open(io.BytesIO(content.box(0, (256, 128), (128, 128)))).size == (128, 128)
    with pytest.raises(LookupError):
        content.box(0, (0, 0), (9000, 9000))
    content.close()
    blind = Content(replace(catalog_of_runs([cohort.raw]), blind=True))
    assert (blind.index("")["lists"], blind.lists()) == (False, [])
    (cohort.production / "insight" / "phenotypes.json").write_text('{"clusters": 3}')  # nobody's list
    assert len(content.lists()) == 1
    assert main(["--insight", str(cohort.raw), "--where_else", "s1", "99999", "0"]) == 2
    assert "no scored patch holds the point" in capsys.readouterr().err
