"""Tests that call kernels need the native module, which a bare source tree does not have."""

import pytest

from memline.kernels import native

needs_kernels = pytest.mark.skipif(
    bool(native.missing()), reason="memline's native module is not built here: pip install -e .[dev]"
)
