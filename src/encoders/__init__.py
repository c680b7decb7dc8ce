"""Patch encoders: pixels of a patch in, a feature vector out.

`create_encoder("uni_v2", device="cuda")` gives one by name; `ENCODERS` lists the names.
Importing this package does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from src.encoders.base import ModuleEncoder, PatchEncoder
    from src.encoders.catalogue import ENCODERS, EncoderSpec
    from src.encoders.create import check_width, create_encoder
    from src.encoders.preprocessing import Preprocessing

__all__ = [
    "ENCODERS",
    "EncoderSpec",
    "ModuleEncoder",
    "PatchEncoder",
    "Preprocessing",
    "check_width",
    "create_encoder",
]

_HOMES = {
    "ENCODERS": "catalogue",
    "EncoderSpec": "catalogue",
    "ModuleEncoder": "base",
    "PatchEncoder": "base",
    "Preprocessing": "preprocessing",
    "check_width": "create",
    "create_encoder": "create",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: it is loaded with the first encoder, not with this package.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
