"""Meters of resident memory: both ways see the same block come and go."""

import time

import jax
import pytest

from memline.errors import MeasureError
from memline.verify import resident

MIB = 2**20
METERS = [resident.HighWaterMeter, resident.SamplingMeter]


@pytest.mark.parametrize("make_meter", METERS)
def test_a_block_that_came_and_went_is_seen(make_meter):
    resident.return_memory_at_once()
    meter = make_meter()
    baseline_bytes = meter.start()
    block = bytearray(b"1" * (64 * MIB))
    time.sleep(0.1)  # the making held the interpreter's lock, so a sampling thread has not looked yet
    del block
    grown_bytes = meter.stop() - baseline_bytes
    assert 64 * MIB - MIB <= grown_bytes <= 128 * MIB + 4 * MIB  # the literal may be there beside its copy
    resident.keep_memory()


@pytest.mark.parametrize("make_meter", METERS)
def test_what_was_there_before_is_not_counted(make_meter):
    block = bytearray(b"1" * (64 * MIB))
    meter = make_meter()
    baseline_bytes = meter.start()
    assert meter.stop() - baseline_bytes < 4 * MIB
    assert len(block) == 64 * MIB


def test_where_the_record_cannot_be_reset_it_is_sampled(monkeypatch, tmp_path):
    monkeypatch.setattr(resident, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert resident.best_meter(jax.local_devices(backend="cpu")[0]).method == "sampled"


def test_a_record_that_ignores_its_reset_is_not_believed(monkeypatch, tmp_path):
    monkeypatch.setattr(resident, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(resident, "_status_bytes", {"VmHWM": 80 * MIB, "VmRSS": 10 * MIB}.__getitem__)
    assert not resident.HighWaterMeter.works()


def test_a_system_without_proc_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(resident, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(resident, "_STATM", tmp_path / "statm")
    with pytest.raises(MeasureError, match="needs Linux's /proc"):
        resident.best_meter(jax.local_devices(backend="cpu")[0])


class FakeAccelerator:
    platform = "gpu"

    def __init__(self, **stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats


def test_an_accelerators_allocator_is_asked():
    device = FakeAccelerator(bytes_in_use=100, peak_bytes_in_use=250)
    meter = resident.best_meter(device)
    assert meter.method == "allocator"
    assert meter.start() == 100
    assert meter.stop() == 250


def test_an_accelerator_that_does_not_say_is_told():
    with pytest.raises(MeasureError, match="does not report its allocations"):
        resident.best_meter(FakeAccelerator())
