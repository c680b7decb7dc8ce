"""Convert a patch to numbers by simple statistics: the demo's stand-in for a foundation model."""

import cv2
import numpy as np
import numpy.typing as npt

FEATURE_WIDTH = 52


def patch_statistics(patch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return 52 statistics of one RGB patch, float32.

    Mean and deviation of RGB, HSV and grey; a 16-bin grey histogram; edge strength at four scales; the share of dark
    pixels at ten thresholds. It does not use how the demo paints its lesions.
    """
    hsv = cv2.cvtColor(patch, cv2.COLOR_RGB2HSV)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    parts: list[npt.NDArray[np.float64]] = []
    for channels in (patch, hsv, grey):
        mean, deviation = cv2.meanStdDev(channels)
        parts += [mean.ravel() / 255, deviation.ravel() / 255]
    histogram = np.bincount(grey.reshape(-1) >> 4, minlength=16) / grey.size
    edges = []
    for scale in (1, 2, 4, 8):
        small = cv2.resize(grey, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA).astype(np.float32)
        gradient = cv2.magnitude(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)) / 255
        edges += [float(gradient.mean()), float(gradient.std()), float((gradient > 0.5).mean())]
    shares = np.cumsum(histogram)[3:13]
    parts += [histogram, np.array(edges), shares]
    return np.concatenate(parts).astype(np.float32)
