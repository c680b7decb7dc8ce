"""The base of every config section, and the kinds of value the keys share."""

import datetime
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80
_repr.maxlevel = 3
shown = _repr.repr
"""`repr`, cut short: a value may be a page of text, or YAML aliases that unfold without end."""


class Section(BaseModel):
    """One section of the config: unknown keys are refused, and nothing changes after loading."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Keys that records of earlier versions do not have: they are left out of them while they have their default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, protected_namespaces=(),
        defer_build=True,  # the validator of the whole config holds those of the sections
    )

    def not_on_record(self) -> frozenset[str]:
        """Return the keys of `later` that have their default."""
        fields = type(self).model_fields
        return frozenset(key for key in self.later if getattr(self, key) == fields[key].default)


def no_bool(value: Any) -> Any:
    """Refuse true and false where a number is wanted; Python would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {str(value).lower()}")
    return value


def as_written(value: Any) -> Any:
    """Return a number as it was given, 0 and 0.0 apart: CLAM writes either into file names. Text becomes a float."""
    no_bool(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"must be a number, got {shown(value)}") from None
    return value


def _text(value: Any) -> Any:
    """Return ``2024-01-05``, a date to YAML, as text; refuse a bare ``on``, as nobody can tell what it meant."""
    if type(value) is datetime.date:
        return value.isoformat()
    if isinstance(value, bool):
        raise ValueError(
            "must be text, but YAML takes a bare on, off, yes, no, true or false for a switch; quote it"
        )
    return value


def none_word(value: Any) -> Any:
    """Take YAML's null for the word ``none``, which says the same."""
    return "none" if value is None else value


def _folders(value: Any) -> Any:
    """Check a folder, a list of folders, or a mapping from a process-list value to a folder."""
    if isinstance(value, dict):
        if not value:
            raise ValueError("must name at least one folder")
        return {str(key): _one_folder(folder) for key, folder in value.items()}
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("must name at least one folder")
        return [_one_folder(folder) for folder in value]
    return _one_folder(value)


def _one_folder(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"must be a folder, a list of folders, or a mapping from name to folder, got {shown(value)}"
        )
    return value


def _extensions(value: Any) -> Any:
    """Return extensions as a tuple, each with its dot: ``svs`` and ``.svs`` are one."""
    values = [value] if isinstance(value, str) else value
    if (
        not isinstance(values, (list, tuple))
        or not values
        or not all(isinstance(v, str) and v.strip(" .") for v in values)
    ):
        raise ValueError(f"must be an extension such as .svs, or a list of them, got {shown(value)}")
    return tuple(dict.fromkeys("." + v.strip().lstrip(".") for v in values))


def _ids(value: Any) -> Any:
    """Return contour numbers as a tuple from ``none``, ``3``, ``"0,2"`` or ``[0, 2]``."""
    if value is None or (isinstance(value, str) and value.strip().strip("[]").lower() in ("", "none")):
        return ()
    parts = re.split(r"[\s,;]+", value.strip().strip("[]").strip()) if isinstance(value, str) else value
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [float(part) for part in parts if not isinstance(part, bool)]
        whole = tuple(int(number) for number in numbers)
    except (TypeError, ValueError, OverflowError):
        whole, numbers = (), [0.5]
    if len(numbers) != len(parts) or any(number != int(number) or number < 0 for number in numbers):
        raise ValueError(
            f"must be none or contour numbers separated by commas, such as 0,2; got {shown(value)}"
        )
    return whole


def _yes_or_no(value: Any) -> Any:
    """Read ``1.0`` and ``0.0`` as switches, too: pandas writes 1 and 0 like that in a column with blank cells."""
    if isinstance(value, (str, float, int)) and not isinstance(value, bool):
        text = str(value).strip().lower()
        return {"1.0": True, "0.0": False}.get(text, text)
    return value


def unsafe_name(name: str) -> str | None:
    """Say why `name` cannot name a file or folder, or None when it can."""
    if not name.strip():
        return "is empty"
    if found := _UNSAFE.search(name):
        sign = found.group()
        return (
            f"holds a path separator {sign!r}" if sign in "/\\" else f"holds the control character {sign!r}"
        )
    if name in (".", ".."):
        return "means a folder, not a name"
    if len(name.encode("utf-8", "surrogatepass")) > 200:
        return "is longer than 200 bytes, too long for a file name with its endings"
    return None


def file_name(value: str) -> str:
    """Check a name that becomes one file or folder."""
    if why := unsafe_name(value):
        raise ValueError(f"must be a plain name, but {shown(value)} {why}")
    return value


def experiment_name(value: str) -> str:
    """Check a name that becomes folders; ``study/run1`` makes two."""
    for part in value.split("/"):
        if why := unsafe_name(part):
            raise ValueError(f"must be a folder name, but {shown(part)} {why}")
    return value


def extra_inputs(value: Any) -> Any:
    """Return inputs beside the patches by name -> a CSV, or columns of the process list.

    A list of columns makes an input of each, a CSV alone one that is called like the file.
    """
    if value is None or value == []:
        return None
    if isinstance(value, str) and value.strip():
        return {Path(value).stem: value}
    if isinstance(value, list) and all(isinstance(name, str) and name.strip() for name in value):
        return {name: [name] for name in value}
    named = isinstance(value, dict) and bool(value) and all(isinstance(name, str) and name.strip() for name in value)
    if named and all(isinstance(given, str) or (isinstance(given, list) and given) for given in value.values()):
        return value
    raise ValueError(
        f"must be columns of the process list, a CSV, or a mapping from names to either; got {shown(value)}"
    )


Int = Annotated[int, BeforeValidator(no_bool)]
Float = Annotated[float, BeforeValidator(no_bool)]
AsWritten = Annotated[int | float, BeforeValidator(as_written)]
Text = Annotated[str, BeforeValidator(_text)]
Folders = Annotated[str | list[str] | dict[str, str], BeforeValidator(_folders)]
Extensions = Annotated[tuple[str, ...], BeforeValidator(_extensions, json_schema_input_type=str | list[str])]
ContourIds = Annotated[
    tuple[int, ...], BeforeValidator(_ids, json_schema_input_type=str | int | list[int] | None)
]
Switch = Annotated[bool, BeforeValidator(_yes_or_no)]
