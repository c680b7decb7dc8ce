"""A float32 as numpy writes it, with the fewest digits that tell it from its neighbours; without loading numpy."""

import struct

from mil_heatmaps.numpy_later import np

_FLOAT32 = struct.Struct("f")
_LEAST, _MOST = 2e-4, 1e5
"""Between these numpy writes every float32 without an exponent, as Python does."""


def float32_text(value: float) -> str:
    """Return what ``str(np.float32(value))`` gives. In long tables `numpy_text` is quicker."""
    if not _LEAST < abs(value) < _MOST:
        return numpy_text(value)
    stored = _FLOAT32.pack(value)
    (exact,) = _FLOAT32.unpack(stored)
    text = f"{exact:.9g}"  # always enough
    for digits in range(8, 0, -1):
        shorter = f"{exact:.{digits}g}"
        if _FLOAT32.pack(float(shorter)) != stored:
            break
        text = shorter
    return repr(float(text))


def numpy_text(value: float) -> str:
    """Return ``str(np.float32(value))``."""
    return str(np.float32(value))
