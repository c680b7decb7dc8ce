"""Files with objects beside their tensors: every object is a record, nothing is imported, nothing is called."""

import argparse
import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import load_checkpoint
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.files.inert import InertUnpickler, Record, load_inert, release_of
from mil_heatmaps.files.safe_pickle import UnsafePickleError

WEIGHTS = {"encoder.0.weight": torch.arange(6.0).reshape(2, 3), "encoder.0.bias": torch.ones(2)}
CALLS = [
    ("posix", "mkdir"), ("posix", "system"), ("builtins", "exec"), ("builtins", "eval"), ("builtins", "getattr"),
    ("builtins", "__import__"), ("os", "system"), ("subprocess", "Popen"), ("nt", "system"), ("torch.hub", "load"),
    ("torch.serialization", "load"), ("torch.storage", "_load_from_bytes"), ("torch._utils", "_import_dotted_name"),
    ("numpy.testing._private.utils", "runstring"), ("runpy", "run_path"), ("__builtin__", "apply"),
    ("copyreg", "_reconstructor"), ("operator", "methodcaller"), ("functools", "partial"), ("torch", "load"),
    ("mil_heatmaps.files.inert", "load_inert"), ("builtins", "type"), ("types", "FunctionType"), ("sys", "exit"),
]  # fmt: skip
"""Names that a file must not reach."""


def opcodes(module: str, name: str, argument: str) -> dict[str, bytes]:
    """Return, by opcode, a pickle that builds or calls ``module.name`` with an argument."""
    text = b"X" + len(argument).to_bytes(4, "little") + argument.encode()
    short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)]
    named = f"c{module}\n{name}\n".encode()
    return {
        "REDUCE": named + b"(" + text + b"tR.",
        "STACK_GLOBAL": b"\x80\x04" + short[0] + short[1] + b"\x93(" + text + b"tR.",
        "INST": b"(" + text + f"i{module}\n{name}\n.".encode(),
        "OBJ": b"(" + named + text + b"o.",
        "NEWOBJ": b"\x80\x02" + named + b"(" + text + b"t\x81.",
        "NEWOBJ_EX": b"\x80\x04" + named + b"(" + text + b"t}\x92.",
        "BUILD": b"\x80\x02" + named + b")\x81}(X\x01\x00\x00\x00a" + text + b"ub.",
        "APPENDS": b"\x80\x02" + named + b")\x81(" + text + b"e.",
        "SETITEMS": b"\x80\x02" + named + b")\x81(" + text + text + b"u.",
        "ADDITEMS": b"\x80\x04" + named + b")\x81(" + text + b"\x90.",
        "twice": named + b"(" + text + b"tR(" + text + b"tR.",
    }


@pytest.mark.parametrize(("module", "name"), CALLS)
def test_every_opcode_gives_a_record_of_every_name(module: str, name: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    for opcode, data in opcodes(module, name, str(tmp_path / "went_off")).items():
        found = InertUnpickler(io.BytesIO(data)).load()
        assert isinstance(found, Record), opcode
        assert name in found.record_name
    assert not list(tmp_path.iterdir())
    assert set(sys.modules) == before


def stored(data: bytes, path: Path, how: str) -> Path:
    """Write a pickle that asks for no storage as torch.save would have."""
    if how == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("data.pkl", data), ("version", b"3\n"), ("byteorder", b"little")):
                archive.writestr(f"archive/{name}", content)
        return path
    magic, protocol = 0x1950A86A20F9469CFC6C, 1001
    system = {"protocol_version": protocol, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(value, 2) for value in (magic, protocol, system))
    path.write_bytes(head + data + pickle.dumps([], 2))
    return path


@pytest.mark.parametrize("how", ["zip", "legacy"])
@pytest.mark.parametrize("opcode", list(opcodes("a", "b", "")))
def test_no_layout_of_file_runs_what_it_names(opcode: str, how: str, tmp_path: Path) -> None:
    for module, name in (("posix", "mkdir"), ("builtins", "exec"), ("not_installed.here", "Model")):
        data = opcodes(module, name, str(tmp_path / "went_off"))[opcode]
        found = load_inert(stored(data, tmp_path / "m.pt", how))
        assert isinstance(found, Record)
        with pytest.raises(CheckpointError, match=r"whole pickled object .*could run any code.*state_dict\(\)"):
            load_checkpoint(tmp_path / "m.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
    assert "not_installed" not in sys.modules


@pytest.mark.parametrize("data", [b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00."])
def test_extension_codes_are_refused(data: bytes, tmp_path: Path) -> None:
    import copyreg

    copyreg._extension_cache[1] = os.mkdir  # type: ignore[attr-defined]
    try:
        with pytest.raises(UnsafePickleError, match="registered in the program that reads it"):
            InertUnpickler(io.BytesIO(data)).load()
    finally:
        del copyreg._extension_cache[1]  # type: ignore[attr-defined]


def test_a_file_cannot_write_on_what_it_names(tmp_path: Path) -> None:
    import torch._utils

    before = dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__defaults__
    for name in ("torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict", "torch\nSize", "builtins\ndict"):
        state = b"N}(X\x0c\x00\x00\x00__defaults__(K\x01K\x02tX\x01\x00\x00\x00aK\x01u\x86b."
        with suppress(Exception):  # whatever Python says of it
            InertUnpickler(io.BytesIO(b"\x80\x02c" + name.encode() + b"\n" + state)).load()
    assert (dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__defaults__) == before
    assert not hasattr(OrderedDict, "a")


class Struct:
    """Options of a training, as ACMIL keeps them."""

    def __init__(self, **entries: Any) -> None:
        self.__dict__.update(entries)


class Addict(dict):  # type: ignore[type-arg]
    """A dict of a class of its own, as TransMIL keeps its settings."""


class Boom:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["WENT_OFF"],)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_weights_and_settings_are_read_beside_objects(
    new: bool, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WENT_OFF", str(tmp_path / "went_off"))
    beside = {
        "config": Struct(n_heads=4, path=Path("x"), inner=Addict(dropout=np.float32(0.5)), names={"a"}),
        "args": argparse.Namespace(lr=0.1), "hook": Boom(), "type": Struct, "best": np.float64(0.7),
    }  # fmt: skip
    path = tmp_path / "m.pt"
    torch.save(
        {"state_dict": WEIGHTS, **beside}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new
    )
    found = load_checkpoint(path)
    assert found.tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in WEIGHTS.items())
    assert {key: found.said.settings[key] for key in ("n_heads", "dropout", "lr")} == {
        "n_heads": 4, "dropout": 0.5, "lr": 0.1,
    }  # fmt: skip
    assert not (tmp_path / "went_off").exists()
    assert any("only settings are read: " in note and "Struct" in note for note in found.notes)


def test_parameters_halves_and_shared_storages_come_back(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    weights = {
        "a": torch.nn.Parameter(whole[:6].reshape(2, 3)), "b": whole[6:], "c": torch.ones(2, dtype=torch.bfloat16),
        "d": torch.tensor(3), "e": torch.zeros(2, 3, dtype=torch.float16).T,
    }  # fmt: skip
    torch.save({"state_dict": weights, "config": Struct(a=1)}, tmp_path / "m.pt")
    found = load_checkpoint(tmp_path / "m.pt").tensors
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in weights.items())


def test_an_object_beside_a_stray_tensor_is_not_among_the_weights(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "class_weights": torch.ones(3), "transform": Struct()}
    torch.save(content, tmp_path / "m.pt")
    assert load_checkpoint(tmp_path / "m.pt").tensors.keys() == WEIGHTS.keys()


def test_torchs_own_switch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": WEIGHTS, "config": Struct()}, tmp_path / "m.pt")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match="TORCH_FORCE_WEIGHTS_ONLY_LOAD forbids: unset it"):
        load_checkpoint(tmp_path / "m.pt")


def test_an_object_among_the_weights_is_an_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {**WEIGHTS, "encoder.2.weight": Struct()}}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"'encoder.2.weight' is not a tensor but an object of .*Struct among"):
        load_checkpoint(tmp_path / "m.pt")


class Learner:
    def __init__(self) -> None:
        self.model, self.opt = torch.nn.Linear(2, 2), None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Learner(), r"whole pickled learner .*torch\.save\(m\.model\.state_dict\(\), 'weights\.pt'\)"),
        (torch.nn.Linear(2, 2), r"whole pickled model \(torch.nn.modules.linear.Linear\).*m\.state_dict\(\)"),
        ({"model": torch.nn.Linear(2, 2)}, r"whole pickled model .*m\['model'\]\.state_dict\(\)"),
        ({"learn": Learner(), "epoch": 3}, r"whole pickled learner .*m\['learn'\]\.model\.state_dict\(\)"),
        ({"state_dict": Struct(a=1)}, r"whole pickled object .*could run any code"),
    ],
)
def test_whole_models_and_learners_are_refused_with_the_line_that_converts_them(
    content: Any, said: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "export.pkl")
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(tmp_path / "export.pkl")


@pytest.mark.parametrize("damage", ["cut", "flipped", "tar", "text"])
def test_damaged_files_end_in_one_message(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"state_dict": WEIGHTS, "config": Struct(a=1)}, path, _use_new_zipfile_serialization=False)
    data = bytearray(path.read_bytes())
    changed = {"cut": data[: len(data) // 2], "flipped": data[:200] + b"\xff\xff\xff" + data[203:],
               "tar": b"\x80\x02" + bytes(600), "text": b"hello"}  # fmt: skip
    path.write_bytes(changed[damage])
    with pytest.raises(UnsafePickleError, match=r"m\.pt"):
        load_inert(path)
    with pytest.raises(CheckpointError, match=r"m\.pt"):
        load_checkpoint(path)


def test_versions_of_packaging_before_and_since_26_and_texts() -> None:
    record = type("Version", (Record,), {})
    inner, outer, newer, odd = record(0, (2, 5, 0), None), record(), record(), record()
    outer.__setstate__({"_version": inner})
    newer.__setstate__((0, (2, 1, 0), None, None, None, None))
    odd.__setstate__({"a": 1})
    assert [release_of(value) for value in (outer, newer, "2.3.1", "v2.10.0+cu121", odd, None, 2.5)] == [
        (2, 5, 0), (2, 1, 0), (2, 3, 1), (2, 10, 0), None, None, None,
    ]  # fmt: skip
