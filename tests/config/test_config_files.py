"""The configs this project ships, CLAM's own, and how the files they name are found."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_heatmaps.cohort.process_list import read_process_list
from mil_heatmaps.config.config import effective_yaml, load_config
from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.config.key_reference import KEYS_FILE, SCHEMA_FILE, keys_text, schema_text
from mil_heatmaps.config.schema import Config, config_schema
from mil_heatmaps.config.tissue_parameters import SlideParams, cohort_params, read_preset
from mil_heatmaps.config.validation_errors import model_in
from mil_heatmaps.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
# Their own names: people put their configs beside the templates.
CONFIGS = sorted((ROOT / "heatmaps" / "configs").glob("config_*.yaml"))


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of configs as one that validates."""
    with pytest.MonkeyPatch.context() as patch:
        # The grammars of web addresses take seconds to build, and no key has one.
        patch.setitem(sys.modules, "rfc3987_syntax", None)
        from jsonschema import Draft202012Validator
    return Draft202012Validator(config_schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_template_loads_and_fits_the_schema(path: Path, schema: Any) -> None:
    load_config(path, check_files=False)
    schema.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_three_templates_are_there() -> None:
    names = {path.name for path in CONFIGS}
    assert {"config_template.yaml", "config_abmil_panda.yaml", "config_clam.yaml"} <= names


def test_the_template_shows_every_key_with_its_default() -> None:
    text = (ROOT / "heatmaps" / "configs" / "config_template.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(text)
    switches = {("video_arguments", "mode"), ("report_arguments", "write")}  # a section that is there switches them on
    differ = {"max_minutes", "label_dict", "h5_dir", "calc_heatmap", "slide_ext", "samples", "data_dir", "ckpt_path"}
    for section, info in Config.model_fields.items():
        model = model_in(info.annotation)
        assert model is not None
        start = re.search(rf"^{section}:", text, re.MULTILINE)
        assert start, section
        body = re.split(r"^\w", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        for key, field in model.model_fields.items():
            assert re.search(rf"^  (# )?{key}:", body, re.MULTILINE), f"{section}.{key} is missing"
            if (section, key) in switches:
                continue
            if key in (given[section] or {}) and key not in differ and section != "export_arguments":
                assert given[section][key] == field.get_default(
                    call_default_factory=True, validated_data={}
                ), key


def test_the_schema_and_the_reference_of_keys_are_up_to_date() -> None:
    hint = "run: python -m mil_heatmaps.config.key_reference"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), hint
    assert KEYS_FILE.read_text(encoding="utf-8") == keys_text(), hint


def test_the_schema_is_sound_and_refuses_what_the_program_refuses(schema: Any) -> None:
    from jsonschema import ValidationError

    schema.check_schema(schema.schema)
    sound = {
        "data_arguments": {"data_dir": "."},
        "patching_arguments": {"overlap": 0.5},
        "heatmap_arguments": None,
    }
    schema.validate(sound)
    for wrong in (
        {},
        {**sound, "heatmap_args": {}},
        {**sound, "heatmap_arguments": {"colormap": "jet"}},
        {**sound, "heatmap_arguments": {"threshold": 1.5}},
        {**sound, "patching_arguments": {"overlap": 1}},
        {**sound, "exp_arguments": {"n_classes": 0}},
    ):
        with pytest.raises(ValidationError):
            schema.validate(wrong)
    assert '"ge"' not in json.dumps(schema.schema)


def test_clams_own_configs_and_lists_load_unchanged(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = golden / "clam" / "e2e" / "tree"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tree / "heatmaps" / "configs", tmp_path / "heatmaps" / "configs")
    shutil.copytree(tree / "heatmaps" / "process_lists", tmp_path / "heatmaps" / "process_lists")
    shutil.copy(tree / "fine.csv", tmp_path)
    (tmp_path / "slides").mkdir()
    for name, mode in (("e1", "clam_sb"), ("e2", "clam_mb")):
        cfg = load_config(
            f"{name}.yaml",
            {"model_arguments.ckpt_path": str(golden / "clam" / "e2e" / f"ckpt_{mode[-2:]}.pt")},
        )
        assert cfg.model_arguments.model_type == mode
        assert cfg.heatmap_arguments.calc_heatmap is True
        assert cfg.class_names == ["LUAD", "LSCC"]
        assert cfg.inputs.slides == {"": (tmp_path / "slides",)}
        assert cfg.inputs.process_list is not None
        assert [row.slide_id for row in read_process_list(cfg.inputs.process_list, cfg)] == ["B", "D_single"][
            : 3 - int(name[1])
        ]


def test_the_config_clam_saves_after_a_run_loads_too(golden: Path) -> None:
    saved = sorted(
        (golden / "clam" / "e2e" / "tree" / "heatmaps" / "heatmap_raw_results").glob("*/config.yaml")
    )
    assert len(saved) == 3
    for path in saved:
        assert load_config(path, check_files=False).model_arguments.n_classes == 2


def test_a_file_is_looked_for_where_people_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, configs = tmp_path / "work", tmp_path / "project" / "heatmaps" / "configs"
    (work / "heatmaps" / "process_lists").mkdir(parents=True)
    (configs.parent / "process_lists").mkdir(parents=True)
    configs.mkdir()
    monkeypatch.chdir(work)
    places = [
        work / "p.csv",
        configs / "p.csv",
        work / "heatmaps" / "process_lists" / "p.csv",
        tmp_path / "project" / "p.csv",
        configs.parent / "process_lists" / "p.csv",
    ]
    for place in places:
        place.write_text("x")
    for place in places:
        assert resolve_input_path("p.csv", configs, "process_list") == place
        place.unlink()
    with pytest.raises(ConfigError) as caught:
        resolve_input_path("p.csv", configs, "process_list")
    assert str(caught.value) == "no such process list: 'p.csv'; looked for " + ", ".join(map(str, places))
    assert resolve_input_path(str(work), None, "folder") == work
    with pytest.raises(ConfigError, match="a folder where a file is wanted"):
        resolve_input_path(str(work), None, "file")
    monkeypatch.setenv("MY_WORK", str(work))
    assert resolve_input_path("$MY_WORK", None, "folder") == work


def test_the_saved_config_can_be_run_from_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study" / "slides").mkdir(parents=True)
    (tmp_path / "work" / "h5").mkdir(parents=True)
    (tmp_path / "work" / "heatmaps" / "process_lists").mkdir(parents=True)
    (tmp_path / "work" / "heatmaps" / "process_lists" / "p.csv").write_text("slide_id\na\n")
    (tmp_path / "study" / "m.pt").touch()
    config = tmp_path / "study" / "x.yaml"
    config.write_text(
        "data_arguments: {data_dir: {A: slides}, h5_dir: [h5], process_list: p.csv}\n"
        "model_arguments: {ckpt_path: m.pt}\n"
    )
    monkeypatch.chdir(tmp_path / "work")
    cfg = load_config(config)
    saved = yaml.safe_load(effective_yaml(cfg))
    assert saved["data_arguments"]["data_dir"] == {"A": str(tmp_path / "study" / "slides")}
    assert saved["data_arguments"]["h5_dir"] == ["h5"]
    assert saved["data_arguments"]["process_list"] == "p.csv"
    assert saved["model_arguments"]["ckpt_path"] == str(tmp_path / "study" / "m.pt")
    (tmp_path / "saved.yaml").write_text(effective_yaml(cfg))
    assert load_config(tmp_path / "saved.yaml").inputs == cfg.inputs


def test_every_missing_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "data_arguments:\n  data_dir: {A: ., B: gone}\n  h5_dir: h5\n  process_list: p.csv\n"
        "model_arguments: {ckpt_path: m.pt}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    found = re.findall(
        r"- (\S+) names no such .*: '(\S+)'; looked for .* \(line (\d) of x.yaml\)", str(caught.value)
    )
    assert found == [
        ("data_arguments.data_dir", "gone", "2"),
        ("data_arguments.h5_dir", "h5", "3"),
        ("data_arguments.process_list", "p.csv", "4"),
        ("model_arguments.ckpt_path", "m.pt", "5"),
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bwh_biopsy", (15, 11, 2, 1, 1, 2, 50)),
        ("bwh_resection", (15, 11, 4, 100, 16, 8, 150)),
        ("tcga", (8, 7, 4, 16, 4, 8, 100)),
    ],
)
def test_the_presets_hold_clams_values(name: str, values: tuple[int, ...]) -> None:
    params = read_preset(ROOT / "presets" / f"{name}.csv")
    keys = ("sthresh", "mthresh", "close", "a_t", "a_h", "max_n_holes", "line_thickness")
    assert tuple(params.value(key) for key in keys) == values
    for key in (
        "seg_level",
        "vis_level",
        "use_otsu",
        "white_thresh",
        "black_thresh",
        "use_padding",
        "contour_fn",
        "keep_ids",
    ):
        assert params.value(key) == SlideParams().value(key)


def test_a_key_wins_over_the_preset_even_with_the_default_value_and_null_counts_as_left_out(tmp_path: Path) -> None:
    config = tmp_path / "x.yaml"
    config.write_text(
        f"data_arguments: {{data_dir: ., scores_dir: ., preset: {ROOT / 'presets' / 'tcga.csv'}}}\n"
        "segmentation_arguments: {sthresh: 15, mthresh: null}\nvisualization_arguments: {line_thickness: null}\n"
    )
    cfg = load_config(config)
    params = cohort_params(cfg)
    assert [params.value(key) for key in ("sthresh", "mthresh", "line_thickness")] == [15, 7, 100]
    assert yaml.safe_load(effective_yaml(cfg))["segmentation_arguments"] == {"sthresh": 15}


def test_a_bad_preset_is_a_config_error(tmp_path: Path) -> None:
    preset, config = tmp_path / "p.csv", tmp_path / "x.yaml"
    config.write_text("data_arguments: {data_dir: ., scores_dir: ., preset: p.csv}\n")
    for text, expected in (
        ("sthres\n8\n", "unknown column 'sthres'.*did you mean 'sthresh'"),
        ("sthresh\n900\n", "sthresh must be at most 255, got '900'"),
        ("sthresh\n", "holds no row of values"),
    ):
        preset.write_text(text)
        with pytest.raises(ConfigError, match=expected):
            load_config(config)
