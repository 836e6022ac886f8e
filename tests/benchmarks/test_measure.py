"""The growth of resident memory is that of memory really touched."""

import sys

import numpy as np
import pytest

from benchmarks import measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SIZE = 64 << 20
NEAR = 6 << 20


def touch(size):
    np.ones(size, np.uint8)
    return "result"


def test_growth_sees_memory_that_is_already_freed_again():
    result, growth = measure.peak_growth(lambda: touch(SIZE))
    assert result == "result"
    assert abs(growth.bytes - SIZE) < NEAR


def test_growth_of_nothing_is_small():
    _, growth = measure.peak_growth(lambda: None)
    assert growth.bytes < NEAR


def test_an_earlier_peak_does_not_count():
    touch(2 * SIZE)
    _, growth = measure.peak_growth(lambda: touch(SIZE))
    assert abs(growth.bytes - SIZE) < NEAR


def test_sampling_where_the_peak_cannot_be_reset(monkeypatch):
    monkeypatch.setattr(measure, "reset_peak", lambda: False)
    monkeypatch.setattr(measure, "SAMPLING_SECONDS", 0.0)

    def hold():
        held = np.ones(SIZE, np.uint8)
        measure.time.sleep(0.05)
        return held

    _, growth = measure.peak_growth(hold)
    assert growth.method == "sampled"
    assert abs(growth.bytes - SIZE) < NEAR


def test_available_memory_is_positive():
    assert measure.available_bytes() > 0
