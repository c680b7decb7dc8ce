"""`make demo`: make a small cohort, run `create_heatmaps.py` on it, report how well attention finds the lesions."""

from __future__ import annotations

import sys
from pathlib import Path

CONFIG = Path("heatmaps/configs/config_demo.yaml")
FOLDER = Path("heatmaps/demo")


def main() -> int:
    """Run the demo from the project's folder; return the exit code of the heatmap run."""
    from mil_heatmaps.cli.create_heatmaps import main as create_heatmaps
    from mil_heatmaps.demo.cohort import make_cohort
    from mil_heatmaps.errors import HeatmapError

    if not CONFIG.is_file():
        print(f"error: {CONFIG} is not there; run the demo from the project's folder", file=sys.stderr)
        return 2
    try:
        make_cohort(FOLDER, print)
    except HeatmapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\npython create_heatmaps.py --config {CONFIG}")
    code = create_heatmaps(["--config", str(CONFIG)])
    if code == 0:
        print(_found_lesions())
    return code


def _found_lesions() -> str:
    """Compare the attention with the planted lesions, slide by slide, without fitting or choosing anything."""
    import numpy as np

    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.demo.cohort import SLIDES, lesion_share, roc_auc
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.scores.score_schema import read_scores

    jobs = Runner(load_config(CONFIG)).cohort.jobs
    lines = ["", "patch-level ROC AUC of the attention against the planted lesions (positive: at least half lesion)"]
    values = []
    for slide in SLIDES:
        job = jobs[slide.slide_id]
        scores = read_scores(job.paths.blockmap_h5)
        share = lesion_share(FOLDER / "truth" / f"{slide.slide_id}.npz", scores.grid.coords_l0, scores.grid.size_l0)
        positive = share >= 0.5
        auc = roc_auc(scores.attention, positive)
        shown = "no lesion" if np.isnan(auc) else f"{auc:.3f}"
        lines.append(f"  {slide.slide_id:<22} {shown:>9}   {positive.sum()} of {len(positive)} patches are lesion")
        if not np.isnan(auc):
            values.append(auc)
    lines.append(f"  mean {np.mean(values):.3f} over {len(values)} slides with lesions")
    some = next(iter(jobs.values())).paths.production.parent
    lines.append(f"\nlook at the pictures in {some}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
