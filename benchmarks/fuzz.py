"""Fuzz the parsers for a bounded time: `make fuzz`, or python benchmarks/fuzz.py --seconds 60 [--only config geojson].

Mutations by atheris where it is installed, which follows the code's branches, else at random. What breaks a parser is
written to tests/fuzz/findings/<parser>/ and is a test from then on. Exit code 1 when there is a finding.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.parsers import PARSERS
from tests.fuzz.test_parsers import FOUND, ODD, mutated, tried


def random_rounds(name: str, seconds: float, dice: random.Random) -> Counter[str]:
    """Mutate one parser's seed until the time is up; return how often the parser read, refused and broke."""
    seed, counts = PARSERS[name].seed(), Counter[str]()
    counts[_one(name, seed)] += 1  # imports what it needs before the clock starts
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        changes = [
            (
                dice.randrange(1 << 16),
                dice.choice(["replace", "insert", "cut"]),
                dice.choice(ODD) if dice.random() < 0.4 else dice.randbytes(dice.randrange(1, 9)),
            )
            for _ in range(dice.randrange(1, 5))
        ]
        counts[_one(name, mutated(seed, changes))] += 1
    return counts


def _one(name: str, data: bytes) -> str:
    try:
        return tried(name, data)
    except Exception as error:
        folder = FOUND / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
        print(f"FINDING {name}: {type(error).__name__}: {str(error)[:200]}")
        return "broke"


def atheris_rounds(name: str, seconds: float) -> Counter[str]:
    """Let atheris choose the mutations, in a forked process, because its loop ends the process.

    The program's own modules are instrumented as the parser imports them. An input that takes 2 GiB or more than ten
    minutes (by the clock: a machine may be busy, or stopped for a while) ends the process, and is kept as a finding.
    """
    import atheris

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        counts: Counter[str] = Counter()
        with atheris.instrument_imports(include=["mil_heatmaps"], enable_loader_override=False):
            counts[_one(name, PARSERS[name].seed())] += 1
        stop = time.monotonic() + seconds

        def one_input(data: bytes) -> None:
            counts[_one(name, data)] += 1
            if time.monotonic() > stop:
                os.write(writing, json.dumps(counts).encode())
                os._exit(0)

        seeds, kept = Path(tempfile.mkdtemp(prefix="fuzz_")), FOUND / name
        (seeds / "seed").write_bytes(PARSERS[name].seed())
        kept.mkdir(parents=True, exist_ok=True)
        limits = ["-max_len=65536", "-timeout=600", "-rss_limit_mb=2048"]
        atheris.Setup([sys.argv[0], str(seeds), *limits, f"-artifact_prefix={kept}/", "-verbosity=0"], one_input)
        atheris.Fuzz()
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    with suppress(OSError):
        (FOUND / name).rmdir()  # nothing was found
    return Counter(json.loads(told) if told else {"died": 1})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each parser")
    parser.add_argument("--only", nargs="+", choices=PARSERS, default=list(PARSERS))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--random", action="store_true", help="mutate at random although atheris is installed")
    args = parser.parse_args()
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    guided = not args.random and find_spec("atheris") is not None
    print("mutations by atheris" if guided else f"mutations at random, seed {seed}")
    broke = 0
    for name in args.only:
        dice = random.Random(f"{seed}{name}")
        counts = atheris_rounds(name, args.seconds) if guided else random_rounds(name, args.seconds, dice)
        broke += counts["broke"] + counts["died"]
        ends = ", ".join(f"{times} {end}" for end, times in sorted(counts.items()))
        print(f"{name:<14} {sum(counts.values()):>7} tried: {ends}", flush=True)
    return 1 if broke else 0


if __name__ == "__main__":
    sys.exit(main())
