"""Entries are whole or not there, a folder stays within its bounds, and trouble has a name."""

import multiprocessing
import os
from pathlib import Path

import pytest

from memline.plancache.store import Store, Unusable


def test_what_was_written_is_read(tmp_path: Path):
    store = Store(tmp_path / "a" / "b")
    assert store.read("k") is None
    store.write("k", b"one")
    store.write("k", b"two")
    store.write("other", b"")
    assert store.read("k") == b"two"
    assert store.read("other") == b""
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0, "what runs is nobody else's to decide"


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:10],
        lambda data: data + b"x",
        lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
        lambda data: b"something else altogether, and long enough to have a checksum in it",
    ],
)
def test_damage_is_seen(tmp_path: Path, damaged):
    store = Store(tmp_path)
    store.write("k", b"a body of some length")
    [path] = tmp_path.iterdir()
    path.write_bytes(damaged(path.read_bytes()))
    with pytest.raises(Unusable, match="damaged"):
        store.read("k")
    store.write("k", b"new")
    assert store.read("k") == b"new"


def test_an_entry_does_not_answer_for_another_key(tmp_path: Path):
    store = Store(tmp_path)
    store.write("a", b"body")
    (tmp_path / "a.memline").rename(tmp_path / "b.memline")
    with pytest.raises(Unusable, match="damaged"):
        store.read("b")


def test_a_place_that_is_no_folder_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be written to: Not a directory"):
        Store(tmp_path / "file" / "cache").write("k", b"")
    (tmp_path / "k.memline").mkdir()
    with pytest.raises(Unusable, match="cannot be read"):
        Store(tmp_path).read("k")


class TestBounds:
    def test_entries_not_used_for_longest_go_first(self, tmp_path: Path):
        store = Store(tmp_path, most_entries=3)
        for age, key in enumerate("dcba"):
            Store(tmp_path).write(key, b"x")
            os.utime(tmp_path / f"{key}.memline", (1000 - age, 1000 - age))
        assert store.read("a") == b"x"  # the oldest, and now the last used
        store.write("e", b"x")
        assert {path.stem for path in tmp_path.iterdir()} == {"e", "a", "d"}

    def test_bytes_are_bounded_too(self, tmp_path: Path):
        store = Store(tmp_path, most_bytes=5000)
        for key in "abcdefgh":
            store.write(key, bytes(1000))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5000
        store.write("huge", bytes(9000))
        assert store.read("huge") == bytes(9000), "what was written last stays, or writing it was in vain"

    def test_what_is_not_memlines_is_left_alone(self, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("mine")
        fresh, old = tmp_path / "fresh.unfinished", tmp_path / "old.unfinished"
        fresh.write_text("")
        old.write_text("")
        os.utime(old, (1000, 1000))
        Store(tmp_path, most_entries=1).write("k", b"")
        assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "fresh.unfinished", "k.memline"}


def _hammer(folder: Path, seed: int) -> int:
    """Writes and reads a few keys over and over; returns how many entries it read, all of them whole."""
    store, found = Store(folder, most_entries=4), 0
    for turn in range(150):
        key = "abcdef"[(seed + turn) % 6]
        store.write(key, key.encode() * 5000)
        body = store.read("abcdef"[turn % 6])
        if body is not None:
            assert body == "abcdef"[turn % 6].encode() * 5000
            found += 1
    return found


def test_processes_may_share_a_folder(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert sum(pool.starmap(_hammer, [(tmp_path, seed) for seed in range(3)])) > 0
    assert len(list(tmp_path.iterdir())) <= 6
    assert not list(tmp_path.glob("*.unfinished"))
