"""What a config is read as, and what it says when it is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mil_heatmaps.config.config import Config, effective_yaml, load_config, make_config
from mil_heatmaps.config.validation_errors import near
from mil_heatmaps.config.yaml_lines import parse_yaml
from mil_heatmaps.errors import ConfigError

Loader = Callable[..., Config]

LEAST = "data_arguments:\n  data_dir: .\n  scores_dir: .\n"


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Write a text as x.yaml and load it without looking for files."""

    def from_text(text: str, **overrides: object) -> Config:
        path = tmp_path / "x.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides, check_files=False)

    return from_text


def message(load: Loader, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


def test_unknown_key_names_its_neighbour_its_section_and_its_line(load: Loader) -> None:
    text = message(load, LEAST + "heatmap_arguments:\n  alpha: 0.3\n  colormap: jet\n")
    assert text.startswith(
        "unknown key 'colormap' in heatmap_arguments (line 6 of x.yaml); did you mean 'cmap'? "
    )
    assert "Choose from alpha, binarize, " in text


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        ("heatmap_arguments", "vis_lvl: 1", "did you mean 'vis_level'?"),
        ("heatmap_arguments", "patch_size: 1", "it belongs to patching_arguments."),
        ("model_arguments", "checkpoint: x", "did you mean 'ckpt_path'?"),
        ("exp_arguments", "qqq: x", "no key is named alike."),
        (
            "sample_arguments",
            "samples: [{name: a, kk: 1}]",
            "unknown key 'kk' in sample_arguments.samples[1]",
        ),
        ("export_arguments", "geojson: {gz: 1}", "unknown key 'gz' in export_arguments.geojson"),
        (
            "heatmap_arguments",
            "alpha: 1.5",
            "heatmap_arguments.alpha must be at most 1, got 1.5 (line 5 of x.yaml)",
        ),
        ("heatmap_arguments", "alpha: .nan", "must be a finite number"),
        ("heatmap_arguments", "blur: maybe", "must be true or false, got 'maybe'"),
        (
            "heatmap_arguments",
            "smooth: gausian",
            "must be one of none, bilinear, gaussian; got 'gausian', did you mean",
        ),
        ("model_arguments", "initiate_fn: my_model", "must be one of initiate_model; got 'my_model'"),
        ("patching_arguments", "patch_size: big", "must be a whole number, got 'big'"),
        ("patching_arguments", "patch_size: true", "must be a number, got true"),
        ("patching_arguments", "overlap: 1", "must be less than 1, got 1"),
        ("exp_arguments", "save_exp_code: ../x", "must be a folder name, but '..' means a folder"),
        ("exp_arguments", "save_exp_code: /x", "must be a folder name, but '' is empty"),
        ("exp_arguments", "save_exp_code: on", "quote it"),
        ("model_arguments", "device: gpu", "must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("run_arguments", "memory_limit: lots", "must be a size in memory such as 8GB, got 'lots'"),
        ("run_arguments", "workers: 0", "must be auto or a whole number of at least 1, got 0"),
        ("export_arguments", "png: 3", "must be true, false, or a mapping of options; got 3"),
        ("segmentation_arguments", "mthresh: 8", "mthresh must be odd, got 8 (line 5 of x.yaml)"),
        ("segmentation_arguments", "keep_ids: a,b", "must be none or contour numbers"),
        ("heatmap_arguments", "{vmin: 2, vmax: 1}", "vmin must be less than vmax, got 2 and 1"),
    ],
)
def test_each_fault_is_named_with_what_would_do(load: Loader, section: str, line: str, expected: str) -> None:
    body = f" {line}" if line.startswith("{") else f"\n  {line}"
    assert expected in message(load, f"{LEAST}{section}:{body}\n")


def test_all_problems_of_a_file_are_reported_at_once_in_its_order(load: Loader) -> None:
    text = message(
        load,
        "data_arguments:\n  data_dir: 3\n  label_dict: {A: 0, B: 3}\nexp_arguments:\n"
        "  n_classes: 2\n  batch_size: 0\n"
        "heatmap_args: {}\n",
    )
    head, *lines = text.split("\n")
    assert head.startswith("7 problems in ")
    expected = [
        "- encoder_arguments.model_name is needed",
        "- model_arguments.ckpt_path is needed",
        "- data_arguments.data_dir must be a folder",
        "- data_arguments.label_dict gives 'B' the number 3, but n_classes is 2",
        "- data_arguments.label_dict gives no name to class 1",
        "- exp_arguments.batch_size must be at least 1, got 0 (line 6 of x.yaml)",
        "- unknown section 'heatmap_args' (line 7 of x.yaml); did you mean 'heatmap_arguments'?",
    ]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n", "must hold sections such as data_arguments, not a list"),
        ("a:\n\tb: 1\n", "line 2, column 1 of x.yaml: found character"),
        ("a: b: c\n", "bad YAML at line 1"),
        ("a: [1\n", "bad YAML at line 2"),
        ("a: 1\n---\nb: 2\n", "a config is one document"),
        ("a: !!python/object/apply:os.getcwd []\n", "only plain values are read"),
        ("a:\n  b: 1\n  b: 2\nc: 1\na: 2\n", "key 'b' stands twice in a (lines 2 and 3 of x.yaml)"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml") as caught:
        parse_yaml(text, "x.yaml")
    assert expected in str(caught.value)


def test_both_lines_of_every_repeated_key_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\nb: 2\na: 3\nb: 4\n", "x.yaml")
    assert str(caught.value).split("\n") == [
        "key 'a' stands twice in the file (lines 1 and 3 of x.yaml)",
        "key 'b' stands twice in the file (lines 2 and 4 of x.yaml)",
    ]


def test_aliases_that_unfold_without_end_do_not_fill_the_memory(load: Loader) -> None:
    grow = "".join(
        f"  {b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    text = message(
        load, f"x:\n  a: &a [1]\n{grow}data_arguments:\n  data_dir: *i\nexp_arguments: &z\n  n_classes: *z\n"
    )
    assert len(text) < 5000
    assert "data_arguments.data_dir must be a folder" in text


def test_yaml_keys_that_are_no_text_are_unknown_keys(load: Loader) -> None:
    assert "unknown key '3' in heatmap_arguments (line 5 of x.yaml)" in message(
        load, LEAST + "heatmap_arguments:\n  3: 4\n"
    )


def test_values_are_taken_as_people_write_them(load: Loader) -> None:
    cfg = load(
        "exp_arguments:\n  save_exp_code: 2024-01-05\ndata_arguments:\n  data_dir: [a, b]\n  scores_dir: s\n"
        "  slide_ext: svs\n  label_dict: {0: 0, 1: 1}\nheatmap_arguments:\n  alpha: 4e-1\n"
        "  save_ext: .PNG\n  smooth: null\n"
        "model_arguments: {drop_out: true, device: CUDA:1}\n"
        "run_arguments: {memory_limit: 1.5GiB, devices: [cuda:0, cpu]}\n"
        "segmentation_arguments: {keep_ids: '0,2', use_otsu: no}\n"
        "export_arguments: {geojson: true, csv: false}\n"
        "sample_arguments:\nvisualization_arguments:\n"
    )
    assert cfg.exp_arguments.save_exp_code == "2024-01-05"
    assert cfg.data_arguments.data_dir == ["a", "b"]
    assert cfg.data_arguments.slide_ext == (".svs",)
    assert cfg.class_names == ["0", "1"]
    assert cfg.heatmap_arguments.alpha == 0.4
    assert (cfg.heatmap_arguments.save_ext, cfg.heatmap_arguments.smooth) == ("png", "none")
    assert cfg.model_arguments.drop_out is True
    assert cfg.model_arguments.device == "cuda:1"
    assert cfg.run_arguments.memory_limit == 1610612736
    assert cfg.run_arguments.devices == ["cuda:0", "cpu"]
    assert cfg.segmentation_arguments.keep_ids == (0, 2)
    assert cfg.segmentation_arguments.use_otsu is False
    assert cfg.export_arguments.csv is None
    assert cfg.export_arguments.geojson is not None
    assert cfg.export_arguments.geojson.threshold == 0.9
    assert [sample.name for sample in cfg.sample_arguments.samples] == ["topk_high_attention"]


def test_whole_and_broken_overlap_stay_apart_as_in_clams_file_names(load: Loader) -> None:
    assert str(load(LEAST + "patching_arguments: {overlap: 0}\n").patching_arguments.overlap) == "0"
    overridden = load(LEAST + "patching_arguments: {overlap: 0}\n", **{"patching_arguments.overlap": 0.0})
    assert str(overridden.patching_arguments.overlap) == "0.0"


def test_the_fine_map_is_made_by_default_only_where_nothing_is_brought() -> None:
    data, model, encoder = {"data_dir": "."}, {"ckpt_path": "m.pt"}, {"model_name": "resnet50_trunc"}
    made = make_config(
        {"data_arguments": data, "model_arguments": model, "encoder_arguments": encoder}, check_files=False
    )
    brought = make_config(
        {"data_arguments": {**data, "h5_dir": "."}, "model_arguments": model}, check_files=False
    )
    assert made.heatmap_arguments.calc_heatmap is True
    assert brought.heatmap_arguments.calc_heatmap is False
    assert (made.patch_grid, brought.patch_grid) == ("clam", "features")
    assert made.heatmap_arguments.colours("attention_logit", fine=True).normalize == "percentile_ref"
    assert made.heatmap_arguments.colours("attention_logit", fine=False).normalize == "percentile"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_arguments": {}}, "model_arguments.ckpt_path is needed"),
        ({"encoder_arguments": {}}, "encoder_arguments.model_name is needed, as the slides have no features"),
        (
            {"model_arguments": {"ckpt_path": "m", "n_classes": 3}},
            "n_classes is 3, but exp_arguments.n_classes is 2",
        ),
        (
            {"model_arguments": {"ckpt_path": "m", "model_name": "a", "model_class": "b"}},
            "model_name or model_class",
        ),
        (
            {"heatmap_arguments": {"classes": "LUDA"}},
            "no class 'LUDA'; did you mean 'LUAD'? choose from predicted,",
        ),
        ({"heatmap_arguments": {"classes": ["predicted"]}}, "no class 'predicted'; choose from LUAD, LSCC"),
        (
            {"heatmap_arguments": {"calc_heatmap": False, "normalize": "percentile_ref"}},
            "percentile_ref ranks a fine map",
        ),
        (
            {"patching_arguments": {"grid": "features"}},
            "patching_arguments.grid is features, but there are no files that bring patches (h5_dir or coords_dir)",
        ),
        ({"patching_arguments": {"mpp": 1, "magnification": 10}}, "give mpp or magnification, not both"),
        (
            {"exp_arguments": {"n_classes": 3}},
            "data_arguments.label_dict gives no name to class 2, but n_classes is 3",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_found(change: dict[str, object], expected: str) -> None:
    sound = {
        "exp_arguments": {"n_classes": 2},
        "data_arguments": {"data_dir": ".", "label_dict": {"LUAD": 0, "LSCC": 1}},
        "model_arguments": {"ckpt_path": "m.pt"},
        "encoder_arguments": {"model_name": "resnet50_trunc"},
    }
    make_config(sound, check_files=False)
    with pytest.raises(ConfigError) as caught:
        make_config({**sound, **change}, check_files=False)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_are_counted_from_the_labels() -> None:
    cfg = make_config(
        {"data_arguments": {"data_dir": ".", "scores_dir": ".", "label_dict": {"b": 1, "a": 0, "A": 0}}},
        check_files=False,
    )
    assert cfg.n_classes == 2
    assert cfg.class_names == ["a/A", "b"]


def test_class_numbers_may_be_text_but_not_negative(load: Loader) -> None:
    cfg = load("data_arguments: {data_dir: ., scores_dir: ., label_dict: {a: '0', b: '1'}}\n")
    assert cfg.class_names == ["a", "b"]
    wrong = message(
        load, "data_arguments:\n  data_dir: .\n  scores_dir: .\n  label_dict:\n    a: -1\n    b: 0\n"
    )
    assert "data_arguments.label_dict.a must be at least 0, got -1 (line 5 of x.yaml)" in wrong


def test_overrides_win_and_are_checked_like_the_file(load: Loader) -> None:
    assert load(LEAST, **{"exp_arguments.save_exp_code": "other"}).exp_arguments.save_exp_code == "other"
    with pytest.raises(ConfigError, match=r"alpha must be at most 1, got 2 \(given on the command line\)"):
        load(LEAST, **{"heatmap_arguments.alpha": 2})


def test_what_was_understood_reads_back_to_the_same_config(load: Loader) -> None:
    cfg = load(
        LEAST + "segmentation_arguments: {a_t: 0.5, keep_ids: none}\n"
        "export_arguments: {ome_tiff: {level: 0}, npz: true}\n"
        "patching_arguments: {overlap: 0}\nsample_arguments: {samples: [{name: 'off', mode: range_sample}]}\n"
    )
    text = effective_yaml(cfg)
    assert load(text).model_dump() == cfg.model_dump()
    assert yaml.safe_load(text)["segmentation_arguments"] == {"keep_ids": [], "a_t": 0.5}


def test_a_window_of_samples_may_be_given_in_shares_or_percent(load: Loader) -> None:
    samples = load(
        LEAST + "sample_arguments:\n  samples:\n  - {name: a, score_start: 0.4, score_end: 0.6}\n"
        "  - {name: b, score_start: 40, score_end: 60}\n  - {name: c}\n"
    ).sample_arguments.samples
    assert [sample.choice.window for sample in samples] == [(40, 60), (40, 60), (0, 100)]


def test_near_finds_no_neighbour_where_there_is_none() -> None:
    assert near("a", ["exp_arguments", "data_arguments"]) is None
    assert near("SLIDE_ID", ["label", "slide_id"]) == "slide_id"


def test_numbers_of_labels_begin_at_zero(load: Loader) -> None:
    said = message(load, "data_arguments: {data_dir: ., scores_dir: ., label_dict: {a: 1, b: 2}}\n")
    assert "label_dict has numbers that begin at 1 (a: 1, b: 2), but those of a model's outputs begin at 0" in said
    assert "{a: 0, b: 1}" in said
    gap = message(load, "data_arguments: {data_dir: ., scores_dir: ., label_dict: {a: 0, b: 2}}\n")
    assert "label_dict gives no name to class 1, and numbers follow one another from 0" in gap
    assert "n_classes" not in gap
    assert "3" not in said.replace("x.yaml", "")
