"""A run as a list of slides, and the command line that shows it."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mil_heatmaps.cli.view_heatmap_sync import main
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.notices import Notice
from mil_heatmaps.records.slide_record import SlideRecord, StageRecord
from mil_heatmaps.viewer.catalog import catalog_of_files, titles_for
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.run_folder import catalog_of_runs, sign_of_runs
from tests.helpers.slides import make_single_level
from tests.helpers.viewer import write_score_file
from tests.helpers.waiting import LONG_S, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An experiment of three slides: one done, one failed, one whose slide is gone."""
    slides = tmp_path / "slides"
    slides.mkdir()
    make_single_level(slides / "done.tif")
    make_single_level(slides / "bad.tif")
    folder = tmp_path / "raw" / "exp"
    for name in ("done", "gone"):
        write_score_file(folder / "tumor" / name / f"{name}_blockmap.h5", (1024, 768))
    (folder / "tumor" / "bad").mkdir()
    record = folder / "tumor" / "bad" / "record.json"
    SlideRecord(record, "bad", "failed", failed_stage="coords", error="no tissue").save()
    with (folder / "process_list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slide_id", "label", "site", "status", "failed_stage", "error", "Pred_0", "p_0"])
        table.writerow(["done.tif", "1", "A", "processed", "", "", "normal", "0.8"])
        table.writerow(["bad", "0", "B", "running", "", "", "", ""])
        table.writerow(["gone", "1", "", "processed", "", "", "tumor", "0.9"])
    (folder / "config.yaml").write_text(
        f"data_arguments:\n  data_dir: {slides}\n  label_dict: {{normal: 0, tumor: 1}}\n"
        "heatmap_arguments:\n  cmap: viridis\n  alpha: 0.3\n  normalize: minmax\n"
    )
    return folder


def test_a_run_gives_its_slides_scores_and_what_the_list_says(run: Path) -> None:
    catalog = catalog_of_runs([run])
    done, bad, gone = catalog.slides
    assert (done.slide_id, done.status, done.label, done.prediction, done.probability) == (
        "done", "processed", "tumor", "normal", 0.8,
    )  # fmt: skip
    assert done.is_wrong is True
    assert [named.path.name for named in done.scores] == ["done_blockmap.h5"]
    assert done.slide_path is not None
    assert (bad.status, bad.problem) == ("failed", "coords: no tissue")  # the record is ahead of the list
    assert gone.slide_path is None
    assert "no slide for 'gone'" in gone.problem
    assert catalog.columns == ("label", "site", "status", "Pred_0", "p_0")
    assert (catalog.defaults.cmap, catalog.defaults.alpha, catalog.defaults.normalize) == ("viridis", 0.3, "minmax")


def test_notices_of_a_slide_stand_in_list_and_panel(run: Path) -> None:
    rows = [line.split(",") for line in (run / "process_list.csv").read_text().splitlines()]
    cells = {"slide_id": "notes", "done.tif": "2 of 6 patches", "gone": "as the list says"}
    text = "\n".join(",".join([*row, cells.get(row[0], "")]) for row in rows)
    (run / "process_list.csv").write_text(text + "\n")
    record = SlideRecord(run / "tumor" / "done" / "record.json", "done", "processed")
    for stage, words in (("segment", "outlines moved"), ("heatmap", "2 of 6 patches")):
        record.stages[stage] = StageRecord.of({}, [], run, 0.0, [Notice("uncoloured", words, uncoloured=2)])
    record.save()
    content = Content(catalog_of_runs([run]))
    assert [slide["notices"] for slide in content.index("")["slides"]] == ["2 of 6 patches", "", "as the list says"]
    told = [content.describe(number)["notices"] for number in range(3)]
    content.close()
    assert told == [["outlines moved", "2 of 6 patches"], [], ["as the list says"]]


def test_a_resolution_given_by_hand_is_shown_as_the_run_used_it(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("  label_dict", "  slide_mpp: 2.0\n  label_dict"))
    make_single_level(run.parents[1] / "slides" / "bad.tif", mpp=None)
    table = run / "process_list.csv"
    table.write_text(table.read_text().replace(",site,", ",mpp,").replace(",A,", ",0.25,").replace(",B,", ",,"))
    content = Content(catalog_of_runs([run]))
    try:
        done, bad = (content.describe(number)["slide"] for number in (0, 1))
    finally:
        content.close()
    assert (done["mpp"], bad["mpp"]) == (0.25, 2.0)
    assert "given by hand: 0.25 µm per pixel (process list); the slide says 0.5" in done["mppNote"]


def test_a_second_row_of_a_slide_does_not_make_it_failed(run: Path) -> None:
    with (run / "process_list.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["done", "1", "A", "failed", "process_list", "is in the list already", "", ""])
    done, *others = catalog_of_runs([run]).slides
    assert (done.status, done.problem, done.prediction, len(others)) == ("processed", "", "normal", 2)


FINE = """encoder_arguments: {model_name: uni_v2}
patching_arguments: {overlap: 0.5}
heatmap_arguments: {calc_heatmap: true, use_roi: false}
data_arguments: {data_dir_key: site, """


@pytest.mark.parametrize(
    ("scores_dir", "titles"),
    [
        ("null", ["fine map, overlap 0.5", "coarse map"]),
        ("given", ["scores"]),
        ("{A: given}", ["scores"]),
        ("{B: given}", ["fine map, overlap 0.5", "coarse map"]),
    ],
)
def test_a_fine_map_is_shown_only_where_the_run_makes_one(run: Path, scores_dir: str, titles: list[str]) -> None:
    """A file of an earlier config may lie there; slides whose scores were given have no fine map."""
    write_score_file(run / "tumor" / "done" / "done_0.5_roi_False.h5", (1024, 768), step=64)
    (run / "config.yaml").write_text(f"{FINE}scores_dir: {scores_dir}}}\n")
    assert [named.title for named in catalog_of_runs([run]).slides[0].scores] == titles


@pytest.mark.parametrize("layout", ["clam", "flat"])
def test_raw_results_that_lie_elsewhere_are_found_by_the_config(run: Path, tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()
    where = {"clam": f"raw_save_dir: {run.parent}, save_exp_code: exp", "flat": f"raw_save_dir: {run}"}[layout]
    (folder / "run.yaml").write_text(f"exp_arguments: {{layout: {layout}, {where}}}\n")
    assert [slide.slide_id for slide in catalog_of_runs([folder]).slides] == ["done", "bad", "gone"]


def test_a_scale_over_the_cohort_which_the_viewer_has_not_is_said(run: Path) -> None:
    assert catalog_of_runs([run]).notes == ()
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "  scale: cohort\n")
    assert "until a fixed range is chosen" in catalog_of_runs([run]).notes[0]


def test_a_run_is_given_by_its_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mil_heatmaps.cohort.experiments.usual_place", lambda: tmp_path / "raw")
    assert main(["--run", "exp", "--export_html", str(tmp_path / "page.html"), "--export_px", "256"]) == 0
    assert main(["--run", "exq"]) == 2
    assert f"in {tmp_path / 'raw'} there is exp" in capsys.readouterr().err


def test_export_slide_chooses_the_slide_of_the_page(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    export = ["--run", str(run), "--export_html", str(page), "--export_px", "256"]
    for choice, name in (([], "done"), (["--export_slide", "bad"], "bad")):
        assert main([*export, *choice]) == 0
        assert f"{page}: {name} at " in capsys.readouterr().out
    assert main([*export, "--export_slide", "dome"]) == 2
    assert "there is no slide 'dome' among the 3 of exp" in capsys.readouterr().err


def test_a_port_in_use_is_told_and_one_out_of_range_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--run", str(run), "--no_browser", "--port", str(port)]) == 2
    assert f"port {port} cannot be used (" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--run", str(run), "--port", "70000"])
    assert "must be 0 to 65535, got '70000'" in capsys.readouterr().err


def test_slides_that_moved_are_found_with_slide_dir(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    os.rename(tmp_path / "slides", moved)
    lost = catalog_of_runs([run])
    assert lost.slides[0].slide_path is None
    assert "--slide_dir" in lost.notes[0]
    assert catalog_of_runs([run], [moved]).slides[0].slide_path == moved / "done.tif"


def test_the_runs_own_folder_of_slides_may_be_named_again(run: Path, tmp_path: Path) -> None:
    assert catalog_of_runs([run], [tmp_path / "slides" / "."]).slides[0].problem == ""


def test_two_runs_give_two_score_files_a_slide(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "raw" / "exp2"
    write_score_file(other / "tumor" / "done" / "done_blockmap.h5", (1024, 768), seed=3)
    done = catalog_of_runs([run, other]).slides[0]
    assert [named.title for named in done.scores] == ["exp", "exp2"]


def test_a_flat_folder_of_pictures_is_a_run_too(tmp_path: Path) -> None:
    from PIL import Image

    make_single_level(tmp_path / "s.tif")
    Image.new("RGB", (64, 48)).save(tmp_path / "s_heatmap.png")
    (tmp_path / "heatmap_results.csv").write_text(
        'slide_id,num_patches,prediction,probabilities\ns,9,tumor,"0.2,0.8"\n'
    )
    (slide,) = catalog_of_runs([tmp_path], [tmp_path]).slides
    assert [named.path.name for named in slide.pictures] == ["s_heatmap.png"]
    assert (slide.prediction, slide.probability) == ("tumor", 0.8)


def test_a_folder_without_a_run_says_what_one_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run: no process_list\.csv"):
        catalog_of_runs([tmp_path])
    with pytest.raises(ConfigError, match="no such folder"):
        catalog_of_runs([tmp_path / "missing"])


def test_equal_names_are_told_apart_by_their_folders() -> None:
    assert titles_for([Path("/x/a/S_blockmap.h5"), Path("/x/b/S_blockmap.h5")]) == ["a/S", "b/S"]
    assert titles_for([Path("/x/m1.h5"), Path("/x/m2.h5")]) == ["m1", "m2"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*s\.svs"):
        catalog_of_files(tmp_path / "s.svs", [], [], None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to show: give --run EXPERIMENT, or --slide FILE"),
        (["--run", "missing"], "no experiment in missing or "),
        (["--run", "x", "--slide", "y"], "not both"),
        (["--slide", "missing.svs"], "no such file: missing.svs"),
    ],
)
def test_a_wrong_command_line_says_what_would_do(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_help_is_quick_and_neither_it_nor_the_server_loads_anything_heavy() -> None:
    code = "import sys; sys.argv = ['v', '--help']\nfrom mil_heatmaps.cli.view_heatmap_sync import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'numpy', 'starlette', 'matplotlib') if m in sys.modules])\n"
    code += "import mil_heatmaps.viewer.run_folder, mil_heatmaps.viewer.content\n"
    code += "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--export_html" in done.stdout
    assert done.stdout.strip().endswith("[]\n[]")


@pytest.mark.slow
def test_the_program_prints_one_link_and_stops_cleanly_with_ctrl_c(run: Path) -> None:
    pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
    if not (ROOT / "src/mil_heatmaps/viewer/page/vendor/openseadragon.min.js").is_file():
        pytest.skip("OpenSeadragon was not fetched (python hatch_build.py)")
    port = str(free_port())
    command = [sys.executable, str(ROOT / "view_heatmap_sync.py"), "--run", str(run), "--no_browser", "--port", port]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[0] == "exp: 3 slides\n"
    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?token=[\w-]{{20,}}\n", lines[1])
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=LONG_S)
    assert (process.returncode, rest, errors) == (0, "stopped\n", "")


def test_an_archived_run_is_shown_as_it_is_and_not_filled_from_its_origin(run: Path, tmp_path: Path) -> None:
    config = (run / "config.yaml").read_text()
    origin = tmp_path / "origin" / "exp"
    shutil.copytree(run, origin)
    archive = tmp_path / "archive"
    shutil.copytree(origin, archive)
    (archive / "config.yaml").write_text(
        f"{config}\nexp_arguments: {{raw_save_dir: {tmp_path / 'origin'}, save_exp_code: exp}}\n"
    )
    kept = next(archive.rglob("*_blockmap.h5"))
    extra = origin / "tumor" / "later"
    extra.mkdir(parents=True)
    shutil.copy(kept, extra / "later_blockmap.h5")
    catalog = catalog_of_runs([archive])
    assert "later" not in {entry.slide_id for entry in catalog.slides}
    assert all(named.path.is_relative_to(archive) for entry in catalog.slides for named in entry.scores)
    # The folder of pictures alone: then the scores come from elsewhere, and that is said.
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(archive / "config.yaml", pictures)
    catalog = catalog_of_runs([pictures])
    assert "later" in {entry.slide_id for entry in catalog.slides}
    assert any("are taken from" in note for note in catalog.notes)


def test_a_slide_found_by_two_ways_is_one_and_a_given_folder_goes_first(run: Path, tmp_path: Path) -> None:
    before = next(entry for entry in catalog_of_runs([run]).slides if entry.slide_path is not None)
    assert before.slide_path is not None
    above = before.slide_path.parent.parent
    link = tmp_path / "link"
    link.symlink_to(before.slide_path.parent)
    for given in ([above], [link], [before.slide_path.parent, link]):
        again = next(entry for entry in catalog_of_runs([run], given).slides if entry.slide_id == before.slide_id)
        assert again.problem == before.problem
        assert again.slide_path is not None
        assert again.slide_path.resolve() == before.slide_path.resolve()
    moved = tmp_path / "moved" / before.slide_path.name
    moved.parent.mkdir()
    shutil.copy(before.slide_path, moved)
    chosen = next(entry for entry in catalog_of_runs([run], [moved.parent]).slides if entry.slide_id == before.slide_id)
    assert chosen.slide_path == moved


def test_a_sign_changes_when_a_run_goes_on_and_the_list_keeps_its_places(run: Path) -> None:
    live = LiveCatalog(catalog_of_runs([run]), lambda: catalog_of_runs([run]), lambda: sign_of_runs([run]))
    before = [entry.slide_id for entry in live.catalog.slides]
    sign = sign_of_runs([run])
    assert sign == sign_of_runs([run])
    home = run / "aaa" / "a_first_one"
    home.mkdir(parents=True)
    write_score_file(home / "a_first_one_blockmap.h5", (512, 512))
    assert sign_of_runs([run]) != sign
    after = live.refresh(now=True)
    assert [entry.slide_id for entry in after.slides] == [*before, "a_first_one"]
    assert live.version == 1
    assert live.refresh(now=True) == after
    assert live.version == 1
    shutil.rmtree(home)
    gone = live.refresh(now=True).slides[-1]
    assert (gone.slide_id, gone.problem, gone.scores) == ("a_first_one", "no longer in the run", ())
