"""Files are written whole or not at all."""

import os

import pytest

from memline.cli.files import read_text, require_writable, write_text, written_beside
from memline.errors import FileError


def test_what_was_there_stays_until_all_is_written(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    path.chmod(0o640)

    def interrupted():
        with written_beside(str(path)) as beside:
            beside.write_text("ne")
            assert beside.suffix == ".json"
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]
    write_text(str(path), "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_link_keeps_pointing_where_it_does(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(str(tmp_path / "link.txt"), "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_devices_are_written_to():
    write_text(os.devnull, "text")
    assert not os.path.isfile(os.devnull)


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match="is a folder"):
        require_writable(str(tmp_path))
    with pytest.raises(FileError, match="there is no folder"):
        write_text(str(tmp_path / "none" / "out.json"), "text")
    assert os.listdir(tmp_path) == []


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_text(str(tmp_path / "none"))
    with pytest.raises(FileError, match="directory"):
        read_text(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"ab\xff")
    with pytest.raises(FileError, match="byte 2 is no UTF-8"):
        read_text(str(tmp_path / "binary"))
