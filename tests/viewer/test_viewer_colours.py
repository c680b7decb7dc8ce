"""Colours in a real browser: the controls, what the bar and the pointer say, and the arithmetic behind."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.score_file import ScoreFile
from tests.helpers.browser import PATCH, Open, go_to, wait_for_pictures


def test_controls_change_the_picture_before_the_next_frame_without_the_server(open_page: Open) -> None:
    page = open_page("cmap=viridis")
    wait_for_pictures(page)
    requests: list[str] = []
    # Every few seconds the page asks whether there is something new.
    page.on("request", lambda request: None if "/api/changes/" in request.url else requests.append(request.url))
    snapshot = """() => { const c = heatmapViewer.panes[1].heat.canvas, d = c.getContext('2d').getImageData(0,
    0, c.width, c.height).data;
        let sum = 0, shown = 0; for (let i = 0; i < d.length; i += 4) { sum += d[i] * 3 + d[i + 1] * 5 + d[i +
        2] * 7; shown += d[i + 3] > 0; } return [sum, shown]; }"""
    seen = [page.evaluate(snapshot)]
    frames_of = """async (change) => { const app = heatmapViewer;
        let frames = 0, counting = true;
        const count = () => { frames += 1; if (counting) requestAnimationFrame(count); };
        requestAnimationFrame(count);
        await new Promise((done) => { app.listeners.colours = app.listeners.colours.concat(done);
            app.store.set(change); });
        counting = false;
        return frames; }"""
    changes: list[dict[str, Any]] = [
        {"cmap": "inferno"}, {"threshold": 0.5}, {"low": 0.2}, {"norm": "minmax"}, {"norm": "robust"}, {"smooth": True},
        {"norm": "softmax"}, {"cold": True}, {"inside": True},
    ]  # fmt: skip
    for change in changes:
        assert page.evaluate(frames_of, change) == 0, change
        now = page.evaluate(snapshot)
        assert now != seen[-1], change
        seen.append(now)
    assert seen[2][1] == pytest.approx(seen[1][1] / 2, rel=0.05)  # half the patches lie below the median
    page.evaluate(frames_of, {"opacity": 0.25})
    assert page.evaluate("heatmapViewer.panes[1].heat.canvas.style.opacity") == "0.25"
    assert requests == []


def test_the_controls_themselves_work(open_page: Open) -> None:
    page = open_page()
    page.select_option("#cmap", "magma")
    page.select_option("#norm", "fixed")
    page.fill("#number-fixedLow", "-1.5")
    page.fill("#number-fixedHigh", "2.5")
    page.keyboard.press("Tab")
    assert "fixed range, clipped: −1.5 to 2.5" in page.inner_text(".legend")
    page.locator("#range-threshold").fill("0.25")
    page.check("#check-smooth")
    handle = page.locator(".handle.high")
    handle.focus()
    page.keyboard.press("PageDown")
    view = page.evaluate("heatmapViewer.view")
    assert {key: view[key] for key in ("cmap", "norm", "fixedLow", "fixedHigh", "threshold", "smooth", "high")} == {
        "cmap": "magma", "norm": "fixed", "fixedLow": -1.5, "fixedHigh": 2.5, "threshold": 0.25, "smooth": True,
        "high": 0.9,
    }  # fmt: skip
    box = page.locator(".handles").bounding_box()
    grip = page.locator(".handle.threshold").bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, grip["y"] + 10, steps=3)
    page.mouse.up()
    assert 0.3 < page.evaluate("heatmapViewer.view.threshold") < 0.7


def test_normalisation_equals_the_programs_own(open_page: Open) -> None:
    cases = {
        "plain": np.random.default_rng(1).normal(size=500),
        "ties": np.random.default_rng(2).integers(0, 4, 60),
        "holes": np.array([0.5, np.nan, -2, np.inf, 3, 0.5, -np.inf]),
        "constant": np.full(9, 0.25),
        "one": np.array([0.7]),
        "beside": np.random.default_rng(5).normal(size=80) + 1,
        "centred": np.random.default_rng(3).normal(size=80) + 1,
    }
    coarse = np.random.default_rng(4).integers(-3, 3, 40).astype(np.float32)
    page = open_page()
    for name, numbers in cases.items():
        for method in ("percentile", "percentile_ref", "minmax", "robust", "softmax", "none"):
            values = numbers.astype(np.float32)
            center = {"centred": 0.0, "beside": 1.5}.get(name)
            expected = normalize(values, method, center=center, kind="attention_logit", reference=coarse)
            out = page.evaluate(
                """async ([values, method, center, coarse]) => {
                const n = await import('/page/js/normalize.js'), raw = Float32Array.from(values.map(Number));
                const reference = n.sortedFinite(Float32Array.from(coarse));
                const scale = n.makeScale(n.sortedFinite(raw), {method, kind: 'attention_logit', center, reference});
                return {shares: [...raw].map((v) => Number.isFinite(v) ? scale.forward(v) : null), ...scale};
                }""",
                [[str(float(v)).replace("inf", "Infinity") for v in values], method,
                 None if center is None else [center, ""], coarse.tolist()],
            )  # fmt: skip
            shares = [np.nan if share is None else share for share in out["shares"]]
            np.testing.assert_allclose(shares, expected.shades, rtol=0, atol=1e-9, err_msg=f"{name} {method}")
            ends = pytest.approx((expected.vmin, expected.vmax), rel=1e-6)
            assert (out["low"], out["high"]) == ends, (name, method)
            assert out["label"].split(":")[0] == expected.label.split(":")[0]
            assert out["unit"] == expected.unit


def test_a_runs_own_ends_give_the_programs_own_range(open_page: Open) -> None:
    values = np.random.default_rng(8).normal(size=200).astype(np.float32)
    coarse = np.random.default_rng(4).integers(-3, 3, 40).astype(np.float32)
    page = open_page()
    units = {"percentile": 30, "percentile_ref": 30, "minmax": 1, "robust": 1, "softmax": 0.01, "none": 1}
    pairs = [(-1.5, 2.5), (-2.0, None), (None, 1.25), (-1.0, 1.0)]
    for (method, unit), pair, center in itertools.product(units.items(), pairs, (None, 0.0, -0.5)):
        low, high = (None if end is None else end * unit for end in pair)
        expected = normalize(
            values, method, vmin=low, vmax=high, center=center, kind="attention_logit", reference=coarse
        )
        out = page.evaluate(
            """async ([values, method, center, coarse, ends]) => {
            const n = await import('/page/js/normalize.js'), raw = Float32Array.from(values);
            const reference = n.sortedFinite(Float32Array.from(coarse));
            const scale = n.makeScale(n.sortedFinite(raw), {method, kind: 'attention_logit', center, reference, ends});
            return {shares: [...raw].map((v) => scale.forward(v)), ...scale};
            }""",
            [values.tolist(), method, None if center is None else [center, ""], coarse.tolist(), [low, high]],
        )
        case = f"{method} {low} {high} {center}"
        np.testing.assert_allclose(out["shares"], expected.shades, rtol=0, atol=2e-7, err_msg=case)
        assert (out["low"], out["high"]) == pytest.approx((expected.vmin, expected.vmax), rel=1e-6), case
        assert out["label"].split(":")[0] == expected.label.split(":")[0], case


def test_the_pointer_reads_the_score_files_own_numbers(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page()
    written = scores["a"][1]
    values = written.scores.values[:, 0]
    index = int(np.argsort(-values)[4])
    x, y = (written.grid.coords_l0[index] + PATCH // 2).tolist()
    go_to(page, x, y, 0.4)
    box = page.locator(".stage").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#tip:not([hidden])")
    assert page.get_attribute("#tip", "data-patch") == str(index)
    assert np.float32(page.get_attribute("#tip", "data-value")) == values[index]
    text = page.inner_text("#tip").replace("\u202f", "").replace("\u2212", "-")
    assert f"rank 5 of {len(values)}" in text
    assert f"percentile {rank_percentiles(values)[index]:.4g}" in text
    corner = written.grid.coords_l0[index]
    assert f"x {corner[0]}, y {corner[1]}" in text
    page.mouse.move(5, 5)
    page.wait_for_selector("#tip", state="hidden")


def test_the_colour_bar_states_name_kind_class_normalisation_and_range(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page("panes=slide;1.1&norm=minmax&center=0")
    values = scores["a"][1].extra[0].values[:, 1]
    text = page.inner_text(".legend").replace("\u2212", "-")
    for part in ("contribution", "contribution to the class logit", "class tumor", "minimum to maximum of the slide"):
        assert part in text
    assert f"scores {values.min():.4g} to {values.max():.4g}, {len(values)} patches" in text
    page.select_option("#class-menu", label="normal")
    page.locator(".legend", has_text="class normal").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_every_control_a_name(open_page: Open, scheme: str) -> None:
    page = open_page("panes=slide;0.0", color_scheme=scheme)
    pairs = page.evaluate("""() => { const style = getComputedStyle(document.documentElement);
        const of = (name) => style.getPropertyValue(name).trim();
        return [['--text', '--surface'], ['--text', '--raised'], ['--soft', '--surface'], ['--soft',
        '--ground'],
          ['--soft', '--raised'], ['--bad', '--surface'], ['--good', '--surface'], ['--on-accent',
          '--accent'], ['--warn-text', '--warn-ground']].map((pair) => pair.map(of)); }""")
    for text, ground in pairs:
        assert _contrast(text, ground) >= 4.5, (text, ground)
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, select, input, [role=slider]')]
        .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') ||
        e.closest('label')?.textContent.trim())) .map((e) => e.outerHTML)""")
    assert unnamed == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def _contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
