"""Files with arrays and a document are written completely, and checked when read."""
# SPDX-License-Identifier: BSD-3-Clause

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from sklrec._utils import tensor_file as _tensor_file
from sklrec._utils.tensor_file import read_tensor_file, write_tensor_file

DOCUMENT = {"name": "a \ud800", "numbers": [1, 2.5, None, True], "nested": {"": {}}}
ARRAYS = {
    "numbers": np.arange(6, dtype=np.float32).reshape(2, 3),
    "none": np.zeros((0, 4), np.int64),
    "one": np.array(7, np.uint8),
    "yes": np.array([True, False]),
    "turned": np.arange(6).reshape(2, 3).T,
}


@pytest.fixture
def path(tmp_path):
    write_tensor_file(tmp_path / "file", DOCUMENT, ARRAYS)
    return tmp_path / "file"


def write_with(path, document=None, **metadata):
    """Write a file with other metadata and the correct checksum."""
    text = json.dumps(DOCUMENT) if document is None else document
    arrays = {name: np.asarray(array, order="C") for name, array in ARRAYS.items()}
    found = {
        "format": "sklrec model",
        "version": _tensor_file.FORMAT,
        "document": text,
        "sha256": _tensor_file._digest(text, arrays),
        **metadata,
    }
    path.write_bytes(safetensors.numpy.save(arrays, found))


def test_document_and_arrays_come_back(path):
    document, arrays = read_tensor_file(path)
    assert document == DOCUMENT
    assert set(arrays) == set(ARRAYS) == set(safetensors.numpy.load_file(path))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].flags.writeable


def test_a_file_is_replaced_and_nothing_is_left_beside_it(path):
    write_tensor_file(path, {}, {})
    assert read_tensor_file(str(path)) == ({}, {})
    assert os.listdir(path.parent) == ["file"]


def test_truncated_files_are_refused(path):
    content = path.read_bytes()
    for length in {*range(0, len(content), 7), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read as a model: it"):
            read_tensor_file(path)


def test_altered_bytes_are_noticed(path):
    content = path.read_bytes()
    for place in {*range(0, len(content), 7), *range(len(content) - 60, len(content))}:
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        with pytest.raises(ValueError, match=r"'.*file'"):
            document, arrays = read_tensor_file(path)
            # The change was to a space in the header.
            assert document == DOCUMENT
            np.testing.assert_equal(arrays, ARRAYS)
            raise ValueError("'file' is as it was")


@pytest.mark.parametrize("length", [16 * 2**20 + 1, 2**32, 2**63, 2**64 - 1])
def test_a_header_that_is_too_long_is_refused(path, length):
    with open(path, "r+b") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(20 * 2**20)
    text = rf"declares a header of {length:,} bytes, but 20,971,512 .* at most 16,777,216 are"
    with pytest.raises(ValueError, match=text):
        read_tensor_file(path)


@pytest.mark.parametrize("n_header", [0x280, 0x480, 0x10380])
def test_a_length_may_look_like_the_start_of_another_file(path, n_header):
    write_tensor_file(path, {"a": ""}, {})
    n_more = n_header - int.from_bytes(path.read_bytes()[:8], "little")
    write_tensor_file(path, {"a": "x" * n_more}, {})
    assert path.read_bytes()[:8] == n_header.to_bytes(8, "little")
    assert read_tensor_file(path)[0] == {"a": "x" * n_more}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cannot be read as a model: it declares a header of"):
        read_tensor_file(path)


def test_other_files_are_refused(path):
    path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"cannot be read as a model: it is 0 bytes long. It is not"
    ):
        read_tensor_file(path)
    path.write_bytes(b"\xff\xfe" * 99)
    with pytest.raises(ValueError, match="declares a header of"):
        read_tensor_file(path)
    safetensors.numpy.save_file({"a": np.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"metadata do not say that sklrec wrote it"):
        read_tensor_file(path)


@pytest.mark.parametrize("version", ["", "0", "1", "3", "one", "1" * 99])
def test_other_versions_are_refused(path, version):
    write_with(path, version=version)
    with pytest.raises(ValueError, match=r"and this sklrec reads version '2'\. Update"):
        read_tensor_file(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ""),
        ("{", ""),
        ("[" * 10**6, ".*recursion"),
        ('{"a": ' + "1" * 5000 + "}", ""),
    ],
)
def test_invalid_documents_are_refused(path, text, problem):
    write_with(path, text)
    with pytest.raises(ValueError, match=f"its document is not valid JSON {problem}"):
        read_tensor_file(path)


def test_a_document_that_is_too_long_is_not_written(path):
    with pytest.raises(ValueError, match="got a description of 17,000,010 characters"):
        write_tensor_file(path, {"a": ["a" * 17_000_000]}, {})
    assert read_tensor_file(path)[0] == DOCUMENT


@pytest.mark.parametrize("path", [3, None])
def test_paths_of_other_types_are_refused(path):
    with pytest.raises(TypeError, match=r"expected str, .* or os\.PathLike object, not"):
        read_tensor_file(path)
    with pytest.raises(TypeError, match=r"expected str, .* or os\.PathLike object, not"):
        write_tensor_file(path, {}, {})


def test_missing_files_raise_errors_of_the_system(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no_file"):
        read_tensor_file(tmp_path / "no_file")
    with pytest.raises(IsADirectoryError):
        read_tensor_file(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'.*/no_folder/file'$"):
        write_tensor_file(tmp_path / "no_folder" / "file", {}, {})
    with pytest.raises(NotADirectoryError, match=r"'.*file/file'"):
        write_tensor_file(path / "file", {}, {})
    with pytest.raises(IsADirectoryError):
        write_tensor_file(tmp_path, {}, {})
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        (("X9", [1], [0, 1]), "the unknown dtype 'X9'"),
        ((3, [1], [0, 1]), "the unknown dtype '3'"),
        (("F8_E5M2", [1], [0, 1]), "the unknown dtype 'F8_E5M2'"),
        (("U8", [-1, -1], [0, 1]), "a shape or a place that is not valid"),
        (("U8", [1.0], [0, 1]), "a shape or a place that is not valid"),
        (("U8", [True], [0, 1]), "a shape or a place that is not valid"),
        (("U8", [1] * 200, [0, 1]), "a shape or a place that is not valid"),
        (("U8", [1], [0]), "a shape or a place that is not valid"),
        (("U8", None, [0, 1]), "a shape or a place that is not valid"),
        (("U8", [2], [0, 1]), "another size than its place"),
        (("U8", [2**40], [0, 2**40]), "its arrays take 1,099,511,627,776 bytes, but 1 bytes are"),
        (("U8", [0, 2**62, 2**62], [0, 0]), "another size than its place"),
        (("U8", [0, 2**40], [0, 0]), "another size than its place"),
        (("U8", [1], [1, 2]), "does not follow the one before"),
        (("U8", [0], [0, 0]), "its arrays take 0 bytes, but 1 bytes are left"),
    ],
)
def test_arrays_that_do_not_fit_the_file_are_refused(path, about, problem):
    header = {
        "__metadata__": {"format": "sklrec model", "version": _tensor_file.FORMAT},
        "a": dict(zip(("dtype", "shape", "data_offsets"), about, strict=True)),
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"1")
    with pytest.raises(ValueError, match=rf"'.*/file' cannot be read as a model: .*{problem}"):
        read_tensor_file(path)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"[]", "is no JSON object"),
        (b"{" * 10**5, "is not valid JSON"),
        ("{}é".encode("utf-16"), "is not valid JSON"),
    ],
)
def test_headers_that_are_no_objects_are_refused(path, header, problem):
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=f"cannot be read as a model: its header {problem}"):
        read_tensor_file(path)


def test_a_file_that_is_overwritten_while_it_is_read_is_refused(path, monkeypatch):
    places = _tensor_file._places

    def shorten(*arguments):
        os.truncate(path, path.stat().st_size - 5)
        return places(*arguments)

    write_tensor_file(path, {}, {"a": np.ones(10**5)})
    monkeypatch.setattr(_tensor_file, "_places", shorten)
    with pytest.raises(ValueError, match="it became shorter while it was read"):
        read_tensor_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is not a regular file"):
        read_tensor_file(tmp_path / "pipe")


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_after_a_failure_the_old_file_is_the_only_one(path, monkeypatch, step, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error), match=r"^$|Input/output error: '.*/file'"):
        write_tensor_file(path, {}, {})
    monkeypatch.undo()
    assert read_tensor_file(path)[0] == DOCUMENT
    assert os.listdir(path.parent) == ["file"]


WRITER = """
import importlib.util, sys, numpy as np
spec = importlib.util.spec_from_file_location("tensor_file", sys.argv[2])
module = importlib.util.module_from_spec(spec)  # without the package, which takes longer
spec.loader.exec_module(module)
print("ready", flush=True)
for n in range(10**9):
    module.write_tensor_file(sys.argv[1], {"n": n}, {"n": np.full(10**5, n)})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), _tensor_file.__file__], stdout=subprocess.PIPE
    )
    with writer:
        writer.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.0437)
        writer.kill()
    document, arrays = read_tensor_file(path)
    assert (arrays["n"] == document["n"]).all()
