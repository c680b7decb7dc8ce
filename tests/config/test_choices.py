"""Words a user may choose stand once, in `choices`; here is that they are those of the parts they name."""

from __future__ import annotations

import subprocess
import sys

from mil_heatmaps.choices import EXPORTS, STAGE_NAMES
from mil_heatmaps.config.export_section import ExportArguments
from mil_heatmaps.stages.all_stages import STAGES


def test_the_stages_are_named_in_their_order() -> None:
    assert tuple(stage.name for stage in STAGES) == STAGE_NAMES


def test_every_export_is_named() -> None:
    assert tuple(ExportArguments.model_fields) == EXPORTS


def test_reading_the_words_imports_nothing_of_others() -> None:
    code = "import sys; before = set(sys.modules); import mil_heatmaps.choices; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"mil_heatmaps", *sys.stdlib_module_names}
