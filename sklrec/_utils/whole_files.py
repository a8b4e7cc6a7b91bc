"""Files that are written completely or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path


def check_file_path(path: str | os.PathLike[str]) -> None:
    """Raise an error if a file cannot be written to a path; call it before the work starts."""
    target, _ = _target(path)
    temporary = _beside(target)
    try:
        with open(temporary, "xb"):
            pass
    except OSError as error:
        raise _named(error, target) from None
    finally:  # Ctrl-C may have come
        _remove(temporary)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file when the new one is complete; on failure the old file stays."""
    target, replaced = _target(path)
    temporary = _beside(target)
    try:
        with open(temporary, "xb", opener=replaced and _open_private) as file:
            if replaced is not None:
                _keep_access(file.fileno(), replaced)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:  # Ctrl-C included
        _remove(temporary)
        if isinstance(error, OSError):
            raise _named(error, target) from None
        raise
    if os.name == "posix":  # write the new name to the disk, too
        with contextlib.suppress(PermissionError):  # a folder may be writable but not readable
            descriptor = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _target(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """Resolve links, and find the file that will be replaced; refuse all but regular files."""
    given = os.fsdecode(path)
    target = Path(os.path.realpath(given))
    try:
        replaced = os.stat(target)
    except FileNotFoundError:
        replaced = None
    is_folder = replaced is not None and stat.S_ISDIR(replaced.st_mode)
    if is_folder or (given and not os.path.basename(given)):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), given)
    if replaced is not None and not stat.S_ISREG(replaced.st_mode):
        raise ValueError(
            f"{given!r} is a device, a pipe or a socket, and a file can only be written in place "
            "of a regular file. Choose another path."
        )
    return target, replaced


def _beside(target: Path) -> Path:
    """Path of a new file in the same folder; its name is short, as the target's may be long."""
    return target.with_name(f".{secrets.token_hex(8)}.tmp")


def _remove(path: Path) -> None:
    """Remove a file, if it is there."""
    # A function in Python, such as Path.unlink, could be interrupted before it removes the file.
    try:
        os.unlink(path)
    except OSError:
        pass


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep_access(descriptor: int, replaced: os.stat_result) -> None:
    """Give a new file the owner, the group and the mode of the one that it replaces."""
    if os.name != "posix":
        return
    for owner in (replaced.st_uid, -1):  # -1 keeps the owner; only root can give files away
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, replaced.st_gid)
            break
    os.fchmod(descriptor, stat.S_IMODE(replaced.st_mode))


def _named(error: OSError, target: Path) -> OSError:
    """Let an error name the file of the caller, and not the temporary one."""
    error.filename = str(target)
    del error.filename2  # else the message shows it
    return error
