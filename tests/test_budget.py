"""Limits as users write them, and the memory of devices that a percentage is of."""

import contextlib
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memline import hostmem
from memline.budget import parse_limit
from memline.devices import device_bytes
from memline.errors import LimitError
from memline.units import format_bytes

UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def fake_device(platform="gpu", **stats) -> Any:
    return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats or None)


@pytest.mark.parametrize(
    ("written", "n_bytes"),
    [
        (None, None),
        (1, 1),
        (np.int64(4096), 4096),
        (np.uint8(7), 7),
        (np.asarray(64), 64),
        (1e9, 10**9),
        (np.float32(1024), 1024),
        ("512MiB", 512 * 2**20),
        ("512mib", 512 * 2**20),
        ("2 GB", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("300 kB", 300_000),
        ("1e9", 10**9),
        ("1_000_000 B", 10**6),
        (" +3e2 bytes ", 300),
        ("2Gi", 2**31),
        ("2G", 2 * 10**9),
        (".5 MiB", 2**19),
        ("1.MiB", 2**20),
        ("1.9 B", 1),
    ],
)
def test_forms_that_are_read(written, n_bytes):
    assert parse_limit(written) == n_bytes


@pytest.mark.parametrize(
    "written",
    [
        0, -1, True, False, np.True_, np.int8(-3), 0.0, -1e9, 0.5, 1.25, float("nan"), float("inf"), -float("inf"),
        "", " ", "0", "0 MiB", "0%", "-5%", "-2GB", "nan", "inf", "a lot", "MiB", "%", "e9", ".", "1 000 000",
        "1,5 GiB", "5 MiB/s", "5 parsecs", "1e400", "1e-400", "0.4 B", "101%", "1__0", "_1", "１２ MiB", "0x10",
        "5 GiB 3 MiB", [], (), {}, object(), b"5 MiB", 1j, np.arange(2), "5%%",
    ],
)  # fmt: skip
def test_forms_that_are_refused(written):
    with pytest.raises(LimitError, match=r"\.") as caught:
        parse_limit(written)
    assert repr(written) in str(caught.value)


def test_a_share_written_as_a_float_gets_the_right_hint():
    with pytest.raises(LimitError, match="write '50%'"):
        parse_limit(0.5)


def test_the_user_is_told_the_forms_that_are_accepted():
    with pytest.raises(LimitError, match=r"'512MiB', '2 GB', '1e9' or '50%'; None means no limit"):
        parse_limit("plenty")


def test_a_percentage_is_of_the_devices_allocator_limit():
    device = fake_device(bytes_limit=80 * 2**30)
    assert parse_limit("50%", device) == 40 * 2**30
    assert parse_limit("12.5 %", device) == 10 * 2**30
    assert parse_limit("100%", device) == 80 * 2**30


def test_a_device_that_does_not_say_cannot_be_shared():
    with pytest.raises(LimitError, match="does not report one"):
        parse_limit("50%", fake_device())


def test_cpu_devices_share_the_hosts_memory(monkeypatch):
    monkeypatch.setattr(hostmem, "usable_bytes", lambda: 12 * 2**30)
    n_devices = len(jax.local_devices(backend="cpu"))
    assert device_bytes(jax.local_devices(backend="cpu")[0]) == 12 * 2**30 // n_devices
    monkeypatch.setattr(jax, "local_devices", lambda backend=None: [fake_device("cpu")] * 4)
    assert device_bytes(fake_device("cpu")) == 3 * 2**30


@pytest.mark.parametrize(
    ("group_line", "files", "n_bytes"),
    [
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "1048576"}, 2**20),
        ("0::/not/mounted", {"sys/fs/cgroup/memory.max": "2097152\n"}, 2**21),
        ("4:memory:/job", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4194304"}, 2**22),
        ("4:cpu,memory:/job", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4194304"}, 2**22),
    ],
)
def test_control_groups_lower_the_hosts_memory(tmp_path: Path, group_line, files, n_bytes):
    for name, text in {"proc/self/cgroup": f"9:freezer:/\n{group_line}\n", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert hostmem.usable_bytes(tmp_path) == n_bytes


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path):
    assert hostmem.usable_bytes(tmp_path) == hostmem.usable_bytes(tmp_path / "nothing")


@given(st.integers(1, 2**62))
def test_whole_bytes_survive(n_bytes):
    assert parse_limit(n_bytes) == n_bytes
    assert parse_limit(str(n_bytes)) == n_bytes
    assert parse_limit(f"{n_bytes:_} B") == n_bytes


@given(st.decimals(min_value=1, max_value=10**6, places=3), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_text_is_read_exactly_and_rounded_down(number, unit, space):
    assert parse_limit(f"{number}{space}{unit}") == int(Fraction(number) * UNITS[unit])


@given(st.integers(1, 2**62))
def test_format_and_parse_agree(n_bytes):
    read_bytes = parse_limit(format_bytes(n_bytes))
    assert read_bytes is not None
    assert abs(read_bytes - n_bytes) <= n_bytes / 100


@given(st.integers(1, 2**62))
def test_text_rounded_up_is_enough_and_not_much_more(n_bytes):
    read_bytes = parse_limit(format_bytes(n_bytes, up=True))
    assert read_bytes is not None
    assert n_bytes <= read_bytes <= n_bytes * 1.01 + 1


@given(st.text(max_size=12))
def test_any_text_is_a_limit_or_a_limit_error(text):
    with contextlib.suppress(LimitError):  # and no other error
        assert (parse_limit(text, fake_device(bytes_limit=2**30)) or 0) >= 1
