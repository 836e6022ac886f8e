"""The source of Python's standard library as text to learn from."""

import sysconfig
from functools import cache
from pathlib import Path

import numpy as np

CHARACTERS = 128
ENOUGH = 2_000_000


@cache
def characters() -> np.ndarray:
    """Two million characters of the standard library's modules, as ASCII codes."""
    parts, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace").encode("ascii", "replace")
        parts.append(np.frombuffer(text, np.uint8))
        size += len(text)
        if size >= ENOUGH:
            break
    return np.concatenate(parts).astype(np.int32)


def batch(seed: int, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Random windows of the text, and the same windows one character later."""
    text = characters()
    starts = np.random.default_rng(seed).integers(0, len(text) - length - 1, rows)
    windows = text[starts[:, None] + np.arange(length + 1)]
    return windows[:, :-1].copy(), windows[:, 1:].copy()
