"""Wait for what must come, however slow the machine and however busy its cores: no sleep is taken for proof."""

import random
import socket
import threading
import time
from collections.abc import Callable

LONG_S = 240.0
"""After this, what was to come does not come."""

_HANDED_OUT_FROM = 32768
"""The first port that Linux gives to programs that ask for any."""


def wait_until(so: Callable[[], object], what: str = "", *, every_s: float = 0.05) -> None:
    """Return once `so` says something true."""
    end = time.monotonic() + LONG_S
    while not so():
        assert time.monotonic() < end, f"still not so after {LONG_S:g} s: {what or so}"
        time.sleep(every_s)


def once(so: Callable[[], object], then: Callable[[], object]) -> None:
    """Call `then` in a thread once `so` says something true; the test goes on meanwhile."""

    def wait() -> None:
        wait_until(so)
        then()

    threading.Thread(target=wait, daemon=True).start()


def free_port() -> int:
    """Return a port of this machine that nobody listens on and that the system hands to no other program meanwhile."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20_000, _HANDED_OUT_FROM)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("200 ports are all taken")
