"""Faces of a checkout: MIL-Lab's `src.builder` and `src.visualization`. The program is the package `mil_heatmaps`.

Importing `src` makes `mil_heatmaps` the one of this checkout, installed or not, so that a script never runs the code
of another version. `sys.path` stays as it is: what else lies in this folder is not for import by its bare name.
"""

import importlib.util
import sys
from pathlib import Path

if "mil_heatmaps" not in sys.modules:
    _package = Path(__file__).resolve().parent / "mil_heatmaps"
    _spec = importlib.util.spec_from_file_location("mil_heatmaps", _package / "__init__.py")
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["mil_heatmaps"] = _module
    _spec.loader.exec_module(_module)
