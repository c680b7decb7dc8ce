"""The last model or encoder that a process loaded, kept until another one is asked for."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LastLoaded(Generic[T]):
    """Keeps the object that was loaded last."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._kept: T | None = None

    def get(self, key: Callable[[], str], load: Callable[[], T]) -> T:
        """Return the kept object if its key is unchanged; otherwise release it and return what `load` returns.

        The key is computed again after loading, because loading may fetch the files that it depends on.
        """
        if self._kept is None or self._key != key():
            self._key = self._kept = None
            self._kept = load()
            self._key = key()
        return self._kept
