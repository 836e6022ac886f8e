"""The sample photographs that ship with scikit-learn, as pixels and as patches."""

from typing import cast

import numpy as np
from sklearn.datasets import load_sample_image


def photograph(name: str, shrink: int = 1) -> np.ndarray:
    """A `[height, width, 3]` photograph of bytes; every `shrink`-th pixel of it."""
    image = cast(np.ndarray, load_sample_image(name))
    return image[::shrink, ::shrink]


def pixels(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (the width is 1) and colours (white is 1) of all pixels, a row each."""
    height, width, _ = image.shape
    rows, columns = np.mgrid[:height, :width]
    coordinates = np.stack([rows.ravel(), columns.ravel()], axis=1) / width
    return coordinates, image.reshape(-1, 3) / 255


def patches(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Square patches of the image, flattened to one row each, left to right and top to bottom."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    windows = windows[::stride, ::stride].transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(windows.reshape(-1, size * size * 3), dtype=np.float32)


def assemble(rows: np.ndarray, size: int, width: int) -> np.ndarray:
    """Lay patches that do not overlap side by side again, `width` pixels to a line."""
    across = width // size
    tiles = rows.reshape(-1, across, size, size, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, across * size, 3)
