"""Tests that solve need the native solver, which a bare source tree does not have."""

import pytest

from memline.packing.solve import is_built

needs_solver = pytest.mark.skipif(not is_built(), reason="the native solver is not built here: pip install -e .[dev]")
