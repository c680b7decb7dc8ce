"""Pixels as arrays: the types that slides, pictures and tiles share."""

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
"""Bytes of any shape: pictures, masks, colour tables."""

RGB = UInt8Array
"""(H, W, 3) pixels."""

WHITE = 255
"""Value of pixels outside a slide, behind transparent pixels, and on a blank canvas."""
