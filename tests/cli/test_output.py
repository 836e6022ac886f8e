"""Files that a command writes are whole or as they were."""

import os
import stat

import pytest

from memline.cli.output import need_writable, write_whole
from memline.errors import ArgumentError


def test_an_interrupt_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("before")

    def half(part):
        part.write_text("hal")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(str(target), half)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_stays_a_link_and_a_new_file_gets_the_usual_rights(tmp_path):
    target, link = tmp_path / "out.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    write_whole(str(link), lambda part: part.write_text("done"))
    assert link.is_symlink()
    assert target.read_text() == "done"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_what_is_no_plain_file_is_written_to():
    need_writable("/dev/null")
    write_whole("/dev/null", lambda part: part.write_text("gone"))
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(("name", "why"), [("no/out.csv", "there is no folder"), (".", "it is a folder")])
def test_where_nothing_can_be_written(tmp_path, name, why):
    path = str(tmp_path / name)
    with pytest.raises(ArgumentError, match=why):
        need_writable(path)
    with pytest.raises(ArgumentError, match=r"cannot write .*: \w"):
        write_whole(path, lambda part: part.write_text(""))


def test_rights_are_asked_for_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(tmp_path))
    with pytest.raises(ArgumentError, match="permission denied"):
        need_writable(None, str(tmp_path / "out.csv"))
