"""A run loads what its work needs: one that finds everything done not even numpy, one that only redraws no torch."""

import json
import subprocess
import sys
from pathlib import Path

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from tests.helpers.cohort import make_small_cohort

TWO_RUNS = """
import json, sys
from pathlib import Path
from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.features import find

find._MOST_OPENED = 0  # as in a folder of many files, of which none is opened to look for bags
config, told = Path(sys.argv[1]), {}
for name in ("done", "redrawn"):
    text = config.read_text()
    config.write_text(text.replace("cmap: jet", "cmap: viridis") if name == "redrawn" else text)
    assert main(["--config", str(config)]) == 0
    watched = ("torch", "scipy", "scipy.stats", "cv2", "numpy", "tifffile")
    loaded = {module for module in watched if module in sys.modules}
    told[name] = sorted(loaded)
print(json.dumps(told))
"""


def test_runs_without_scoring_load_neither_torch_nor_statistics(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"heatmap_arguments": {"cmap": "jet", "figure": False}})
    config = cohort.write()
    assert Runner(load_config(config)).run().exit_code == 0
    before = next(cohort.root.rglob("prod/**/*_0*.*g")).read_bytes()
    code = [sys.executable, "-c", TWO_RUNS, str(config)]
    ran = subprocess.run(code, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert not told["done"]
    assert not {"torch", "scipy.stats", "tifffile"} & set(told["redrawn"])
    assert next(cohort.root.rglob("prod/**/*_0*.*g")).read_bytes() != before  # it was drawn again
