"""numpy, loaded when it is first used.

A run that finds nothing to do never computes anything, and loading numpy takes longer than planning 300 slides.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["np"]

if TYPE_CHECKING:
    import numpy as np
else:

    class _Later:
        """Stands for numpy; each name that was asked for once is an ordinary attribute from then on."""

        def __getattr__(self, name: str) -> Any:
            import numpy

            value = self.__dict__[name] = getattr(numpy, name)
            return value

    np = _Later()
