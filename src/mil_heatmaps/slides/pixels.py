"""Pixels as arrays: the types that slides, pictures and tiles share."""

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
"""Bytes of any shape: pictures, masks, colour tables."""

RGB = UInt8Array
"""(H, W, 3) pixels."""

WHITE = 255
"""Paper: what lies outside a slide or under a transparent pixel, and what a blank canvas is made of."""
