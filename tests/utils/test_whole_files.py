"""Files replace others completely, and keep their owner and mode."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import socket
import stat

import pytest

from sklrec._utils.whole_files import check_file_path, write_whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners are those of POSIX")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_mode_of_the_process(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    write_whole(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_an_owner_that_cannot_be_kept_is_no_error(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError

    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o604)
    monkeypatch.setattr(os, "fchown", fail)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.parametrize("name", ["a" * 255, "\u8a9e" * 85, "a" * 251 + ".bin"])
def test_the_longest_names_work(tmp_path, name):
    write_whole(tmp_path / name, b"old")
    write_whole(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert os.listdir(tmp_path) == [name]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"old", b"new"):
        write_whole(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder" / "file").read_bytes() == content


@pytest.mark.parametrize("function", [check_file_path, lambda path: write_whole(path, b"new")])
def test_paths_that_cannot_be_written_are_refused(tmp_path, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    for name, target in (("link", "pipe"), ("link to a folder", "."), ("circle", "circle")):
        os.symlink(target, name)
    for path in ("pipe", "socket", "link", os.devnull):
        with pytest.raises(ValueError, match=f"'{path}' is a device, a pipe or a socket"):
            function(path)
    with pytest.raises(OSError, match=r"symbolic links: '.*/circle'$"):
        function("circle")
    for path in (".", "", "file/", "link to a folder", str(tmp_path)):
        with pytest.raises(IsADirectoryError):
            function(path)
    with pytest.raises(OSError, match=r"too long: '.*a'$"):
        function("a" * 256)
    with pytest.raises(FileNotFoundError, match=r"'.*/no_folder/file'$"):
        function("no_folder/file")
    assert sorted(os.listdir()) == ["circle", "link", "link to a folder", "pipe", "socket"]


def test_a_check_leaves_no_file(tmp_path):
    check_file_path(tmp_path / "new")
    assert not os.listdir(tmp_path)
