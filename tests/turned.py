"""Images turned by any angle."""

from __future__ import annotations

import math

import cv2
import numpy as np


def turned(image, angle):
    """The image turned clockwise by degrees, none of it cut off, and the matrix (2, 3) of its pixels."""
    height, width = image.shape[:2]
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)
    matrix[:, 2] += np.array(size) / 2 - np.array([width, height]) / 2
    return cv2.warpAffine(image, matrix, size), matrix
