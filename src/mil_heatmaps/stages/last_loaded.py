"""One loaded thing a process, a model or an encoder, kept for as long as the same one is asked for."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LastLoaded(Generic[T]):
    """Keeps what was loaded last."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._kept: T | None = None

    def get(self, key: Callable[[], str], load: Callable[[], T]) -> T:
        """Return what is kept if `key` is still that of it, else what `load` returns, once the old one is let go.

        The key is taken again after loading, which may have brought the very files it tells of.
        """
        if self._kept is None or self._key != key():
            self._key = self._kept = None
            self._kept = load()
            self._key = key()
        return self._kept
