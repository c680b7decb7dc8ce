"""What grows with the number of things and no faster, told from ratios: a slow machine with busy cores has the same."""

import time
from collections.abc import Callable


def spent_s(work: Callable[[], object]) -> float:
    """Return the seconds of this process's own time that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def assert_grows_with_number(work: Callable[[int], object], few: int, many: int) -> None:
    """Require that `work` of many things takes about as much longer than of few as they are more."""
    least = min(spent_s(lambda: work(few)) for _ in range(3))
    most = min(spent_s(lambda: work(many)) for _ in range(2))
    assert most < 4 * (many / few) * least, f"{few} took {least:.3f} s, {many} took {most:.3f} s"
