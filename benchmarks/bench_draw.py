"""How long drawing takes, how much memory, and how near that is to the least it can be.

A slide of 60000 x 50000 pixels is made in a temporary folder (about 600 MB, gone afterwards). Each case runs in a
process of its own, imports not counted; CPU seconds are user and system time of all threads, memory is the peak of the
whole process, imports counted. Beside each stand

- floor: decoding the same level's tiles and encoding the same picture with the same codecs, and nothing else,
- plain: the usual way, patch by patch on arrays as large as the picture (1/16 only unless --all is given).

The last cases are the colours alone, for which no slide is read (``content: colours``): their floor is encoding.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = (60000, 50000)
Case = tuple[int, float, int, str, bool]
CASES: list[Case] = [
    # patches, overlap, level, suffix, colours alone
    (2_000, 0.0, 4, ".jpg", False),
    (20_000, 0.0, 4, ".png", False),
    (20_000, 0.5, 4, ".jpg", False),
    (100_000, 0.0, 4, ".jpg", False),
    (100_000, 0.5, 4, ".jpg", False),
    (2_000, 0.5, 2, ".jpg", False),
    (20_000, 0.0, 2, ".jpg", False),
    (100_000, 0.5, 2, ".jpg", False),
    (20_000, 0.5, 2, ".png", False),
    (27_000, 0.0, 0, ".ome.tif", False),
    (100_000, 0.5, 4, ".jpg", True),
    (100_000, 0.5, 2, ".jpg", True),
    (100_000, 0.5, 2, ".png", True),
]


def _patches(count: int, overlap: float) -> tuple[Any, Any, int]:
    """Return (coords, scores, size) of about `count` patches on the tissue, on a lattice with this overlap."""
    import numpy as np

    from benchmarks.big_slide import tissue_at

    size = 512
    while True:
        step = max(1, int(size * (1 - overlap)))
        x, y = np.meshgrid(np.arange(0, SIZE[0], step), np.arange(0, SIZE[1], step))
        coords = np.stack((x, y), axis=-1).reshape(-1, 2)
        coords = coords[tissue_at((coords[:, 0] + size / 2) / SIZE[0], (coords[:, 1] + size / 2) / SIZE[1])]
        if len(coords) >= count or size <= 64:
            break
        size //= 2
    coords = coords[np.sort(np.random.default_rng(1).permutation(len(coords))[:count])]
    return coords, np.random.default_rng(0).normal(size=len(coords)), size


def _measured(work: Any) -> dict[str, float]:
    import resource

    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_ours(slide: Path, out: Path, case: Case) -> dict[str, float]:
    """Segment, plan, draw, save."""
    import cv2  # noqa: F401
    import imagecodecs  # noqa: F401
    import openslide  # noqa: F401
    import tifffile  # noqa: F401
    from matplotlib import colormaps  # noqa: F401

    import mil_heatmaps.slides.tissue  # noqa: F401
    from mil_heatmaps.export.pyramid import write_ome_tiff
    from mil_heatmaps.visualization.drawing import colours_alone
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.overlay import draw_to_file
    from mil_heatmaps.visualization.patch_arguments import as_grid
    from mil_heatmaps.visualization.view import View
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    count, overlap, level, suffix, alone = case
    coords, scores, size = _patches(count, overlap)

    def work() -> None:
        with WholeSlideImage(slide) as wsi:
            wsi.segment_tissue()
            drawing = plan_heatmap(scores, as_grid(coords, size, overlap), wsi, View(level))
            if alone:
                drawing = colours_alone(drawing)
            if suffix == ".ome.tif":
                write_ome_tiff(out, drawing, quality=80)
            else:
                draw_to_file(out, drawing)

    return _measured(work)


def run_floor(slide: Path, out: Path, case: Case) -> dict[str, float]:
    """Decode the level's tiles, if needed, and encode the finished picture: both in memory."""
    import io

    import imagecodecs
    import numpy as np
    import tifffile
    from PIL import Image

    from mil_heatmaps.visualization.png_stream import PngWriter

    _, _, level, suffix, alone = case
    if suffix == ".ome.tif":
        return _pyramid_floor(slide, out)
    Image.MAX_IMAGE_PIXELS = None  # a quarter of a slide is larger than PIL trusts
    picture = np.asarray(Image.open(out).convert("RGB"))
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages[level]
        data = slide.read_bytes() if level else b""
        tiles = [data[o : o + n] for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    del data

    def work() -> None:
        for tile in () if alone else tiles:
            imagecodecs.jpeg8_decode(tile, colorspace="YCBCR", outcolorspace="RGB")
        file = io.BytesIO()
        if suffix == ".png":
            writer = PngWriter(file, (picture.shape[1], picture.shape[0]))
            for y in range(0, len(picture), 256):
                writer.write(writer.encode(picture[y : y + 256]))
        else:
            for y in range(0, len(picture), 256):
                imagecodecs.jpeg8_encode(
                    picture[y : y + 256], 100, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
                )

    return _measured(work)


def _pyramid_floor(slide: Path, out: Path) -> dict[str, float]:
    """Decode and encode the tiles that differ between slide and overlay, at every level; copy nothing."""
    import imagecodecs
    import tifffile

    with tifffile.TiffFile(slide) as before, tifffile.TiffFile(out) as after:
        pages = [(b.dataoffsets, b.databytecounts, a.dataoffsets, a.databytecounts)
                 for b, a in zip(before.pages, after.pages, strict=True)]  # fmt: skip
    source, made = os.open(slide, os.O_RDONLY), os.open(out, os.O_RDONLY)

    def work() -> None:
        for columns in pages:
            for place, count, new_place, new_count in zip(*columns, strict=True):
                data = os.pread(source, count, place)
                if count == new_count and data == os.pread(made, new_count, new_place):
                    continue
                tile = imagecodecs.jpeg8_decode(data, colorspace="YCBCR", outcolorspace="RGB")
                imagecodecs.jpeg8_encode(tile, 80, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")

    return _measured(work)


def run_plain(slide: Path, out: Path, case: Case) -> dict[str, float]:
    """The usual way: every patch added to arrays as large as the picture, colours as floats, PIL."""
    import cv2
    import numpy as np
    import openslide
    from matplotlib import colormaps
    from PIL import Image
    from scipy.stats import rankdata

    count, overlap, level, suffix, _ = case
    coords, scores, size = _patches(count, overlap)

    def work() -> None:
        with openslide.OpenSlide(slide) as opened:
            width, height = opened.level_dimensions[level]
            scale = width / opened.dimensions[0]
            canvas = np.asarray(opened.read_region((0, 0), level, (width, height)).convert("RGB"))
        total, seen = np.zeros((height, width)), np.zeros((height, width), np.uint16)
        values = rankdata(scores) / len(scores)
        side = int(np.ceil(size * scale))
        corners = np.ceil(coords * scale).astype(int)
        for (x, y), value in zip(corners, values, strict=True):
            total[y : y + side, x : x + side] += value
            seen[y : y + side, x : x + side] += 1
        total[seen > 0] /= seen[seen > 0]
        colours = canvas.copy()
        table = colormaps["jet"]
        for x, y in corners:
            block = total[y : y + side, x : x + side]
            colours[y : y + side, x : x + side] = (table(block) * 255)[..., :3].astype(np.uint8)
        picture = cv2.addWeighted(colours, 0.4, canvas, 0.6, 0)
        Image.fromarray(picture).save(out.with_suffix(".plain" + suffix), quality=100)

    return _measured(work)


def _in_a_process(kind: str, slide: Path, out: Path, case: Case) -> dict[str, float]:
    request = json.dumps([kind, str(slide), str(out), case])
    root = str(Path(__file__).resolve().parents[1])
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_draw", "--one", request],
        capture_output=True, text=True, check=True, cwd=root,
    )  # fmt: skip
    return dict(json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, help="use this slide, made by big_slide.py, instead of making one")
    parser.add_argument("--all", action="store_true", help="run the plain way at 1/4 too (4 GB, a minute)")
    parser.add_argument("--only", type=int, nargs="+", choices=range(len(CASES)), help="these cases, by number from 0")
    parser.add_argument("--pairs", type=int, default=1, metavar="N", help="ours and floor N times in turn: the medians")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, slide, out, case = json.loads(options.one)
        run = {"ours": run_ours, "floor": run_floor, "plain": run_plain}[kind]
        print(json.dumps(run(Path(slide), Path(out), tuple(case))))
        return
    with tempfile.TemporaryDirectory(prefix="bench_draw_") as folder:
        from benchmarks.big_slide import make_big_slide

        slide = options.slide or make_big_slide(Path(folder) / "big.tif")
        print(f"{SIZE[0]} x {SIZE[1]}, {os.cpu_count()} cores; CPU s / wall s / peak MB of the process")
        print(f"{'case':49} {'ours':>20} {'floor':>7} {'ratio':>6} {'plain':>20}")
        for number, case in enumerate(CASES):
            if options.only is not None and number not in options.only:
                continue
            count, overlap, level, suffix, alone = case
            out = Path(folder) / f"{number}{suffix}"
            pairs = []
            for _ in range(options.pairs):
                pairs.append([_in_a_process(who, slide, out, case) for who in ("ours", "floor")])
                if options.pairs > 1:
                    print("  a pair: {:.2f} / {:.2f} s of CPU".format(*(one["cpu"] for one in pairs[-1])), flush=True)
            keys = ("cpu", "wall", "mb")
            ours, floor = ({key: statistics.median(pair[i][key] for pair in pairs) for key in keys} for i in (0, 1))
            ratio = statistics.median(one["cpu"] / least["cpu"] for one, least in pairs)
            plain = ""
            if options.pairs == 1 and not alone and (level == 4 or (options.all and 0 < level < 4)):
                usual = _in_a_process("plain", slide, out, case)
                plain = f"{usual['cpu']:.2f} / {usual['wall']:.2f} / {usual['mb']:.0f}"
            name = f"{count:,} patches, overlap {overlap}, 1/{2**level} {suffix}{', colours alone' * alone}"
            mine = f"{ours['cpu']:.2f} / {ours['wall']:.2f} / {ours['mb']:.0f}"
            print(f"{name:49} {mine:>20} {floor['cpu']:7.2f} {ratio:6.2f} {plain:>20}", flush=True)
            out.unlink()


if __name__ == "__main__":
    # `python benchmarks/bench_draw.py` finds the packages too.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
