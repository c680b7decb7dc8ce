"""A float32 as numpy writes it, with the fewest digits that tell it from its neighbours; without loading numpy."""

import math
import struct

from mil_heatmaps.numpy_later import np

_FLOAT32 = struct.Struct("f")


def float32_text(value: float) -> str:
    """Return what `numpy_text` gives, which is quicker in long tables; numpy is loaded for unusual numbers only."""
    if type(value) is not float:  # as in a record from other hands
        return numpy_text(value)
    size = abs(value)
    # Without an exponent as in Python; with one, too, but near 1e-4, where it begins, and at powers of two, whose
    # neighbours are not equally far.
    if not (2e-4 < size < 1e5 or size == 0 or (1e-37 < size < 9.9e-5 and math.frexp(size)[0] != 0.5)):
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
