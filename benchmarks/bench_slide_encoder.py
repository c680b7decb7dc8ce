"""What the program adds to the forwards of a slide encoder with a head, by an occlusion map.

    python benchmarks/bench_slide_encoder.py [--patches 10000] [--width 768] [--max_forwards 60] [--clock]

The encoder is a random network of the user's own whose forward takes about 50 ms of one core on 10,000 patches. *Bare*
is the same parts of the slide, as tensors made by indexing, handed to the same encoder and head in a plain loop. Both
run in turn in one process with one thread, and the least CPU time of three is taken (`--clock`: of the clock).
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mil_heatmaps.explain.answers import others
from mil_heatmaps.explain.estimates import choose_window
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.explain.settings import Settings
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.slide_encoder import SlideEncoderModel
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.weights.slide_head import SlideHead


class Encoder(nn.Module):
    """Two layers on each patch, a position code, a mean."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, 64)
        self.place = nn.Linear(2, 64)

    def forward(self, features: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        """Return the vector (64,)."""
        each = self.second(torch.relu(self.first(features))) * torch.cos(self.place(coords / 20_000.0))
        return each.mean(dim=0)


def main() -> None:
    """Time both and print the program's overhead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--max_forwards", type=int, default=60)
    parser.add_argument("--clock", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    now = time.perf_counter if args.clock else time.process_time
    side, draw = int(np.ceil(args.patches**0.5)), np.random.default_rng(0)
    cells = np.stack(np.divmod(np.arange(args.patches), side)[::-1], axis=1).astype(np.int64)
    grid = PatchGrid(cells * 512, (512, 512), (512, 512))
    features = draw.standard_normal((args.patches, args.width), np.float32)
    bag = PatchFeatures(grid, features, None, Path("bag.h5"))
    encoder = Encoder(args.width, args.hidden).eval().requires_grad_(False)
    head = SlideHead(draw.normal(size=(2, 64)), np.zeros(2))
    model = SlideEncoderModel(encoder, head, "random encoder").eval()
    settings = Settings(max_forwards=args.max_forwards)
    lattice = Lattice.of(grid.coords_l0, grid.step_l0)
    window, stride = choose_window(lattice, settings, exact=False)
    sets = lattice.windows(window, stride)
    x, at = torch.from_numpy(features), torch.from_numpy(grid.coords_l0)
    weight = torch.from_numpy(head.weight)

    def bare() -> tuple[float, float]:
        """Return the seconds of the forwards including the making of their parts, and of the forwards alone."""
        start, alone = now(), 0.0
        with torch.inference_mode():
            for number in range(len(sets)):
                index = torch.from_numpy(others(args.patches, sets[number]))
                part, corners = x[index], at[index]
                began = now()
                weight @ encoder(part, corners).double()
                alone += now() - began
        return now() - start, alone

    def whole() -> float:
        start = now()
        model.explain(bag, ["occlusion"], targets=1, settings={"max_forwards": args.max_forwards})
        return now() - start

    whole(), bare()
    took = [(whole(), *bare()) for _ in range(3)]
    program, loop, alone = (min(column) for column in zip(*took, strict=True))
    count = len(sets)
    print(f"{args.patches:,} patches of {args.width}, window {window}, {count} windows within {args.max_forwards}")
    print(f"one forward {1000 * alone / count:.1f} ms, with the making of its part {1000 * loop / count:.1f} ms")
    # two more forwards of the whole bag: for the prediction, and to check that the encoder is steady
    fair = loop * (count + 2) / count
    print(f"program {program:.2f} s, bare {fair:.2f} s ({count} + 2 forwards): {100 * (program / fair - 1):+.1f} %")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
