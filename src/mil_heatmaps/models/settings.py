"""Check the settings of a model that a file or a config gives: its constructor must take each of them."""

import inspect
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel

MOST = 65_536
"""No size, count or width of a model is larger; a larger one is a mistake that would fill the memory."""

_WORDS = {bool: "true or false", int: f"a whole number up to {MOST:,}", float: "a number up to 1,000", str: "text"}


def checked_setting(cls: type[MILModel], name: str, value: Any) -> Any:
    """Return `value` as the constructor of `cls` takes it for its argument `name`; 8.0 is taken for 8.

    Raises
    ------
    ModelError
        A value of another type, not among the choices, negative or absurdly large; the message says what is accepted.
    """
    kind = get_type_hints(cls.__init__)[name]
    default = inspect.signature(cls.__init__).parameters[name].default
    if type(value) is type(default) and value == default:  # such as -1 for none
        return value
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        fits, converted = _converted(one, name, value)
        if fits:
            return converted
    shown = _shown(value)
    raise ModelError(f"{name} must be {' or '.join(map(_words, kinds))}, got {shown} ({type(value).__name__})")


def _converted(kind: Any, name: str, value: Any) -> tuple[bool, Any]:
    """Return whether `value` is of this kind and sensible, and the value as that kind."""
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind), value
    if kind in (NoneType, str):
        return isinstance(value, kind), value
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool), value
    if not isinstance(value, int | float) or not abs(value) <= max(MOST, 1000):  # not of thousands of digits, not NaN
        return False, value
    if kind is int:
        return value == int(value) and 0 <= value <= MOST, int(value)
    return 0 <= value <= (1 if "drop" in name else 1000), float(value)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {list(get_args(kind))}"
    return "nothing" if kind is NoneType else _WORDS.get(kind, "what the checkpoint's tensors say")
