"""Where things are kept, and what a folder that cannot be written says."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskFull, HomeReadOnly

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


def default_home() -> Path:
    """The hospital's folder: ATTENDING_HOME, else under the user's data directory."""
    named = os.environ.get("ATTENDING_HOME")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("attending", appauthor=False)


def cache_dir() -> Path:
    """Pulled models and data, shared by homes: ATTENDING_CACHE, else under the user's cache directory."""
    named = os.environ.get("ATTENDING_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("attending", appauthor=False)


def mirror_dir() -> Path | None:
    """The offline folder that a pull falls back to: ATTENDING_MIRROR, or None."""
    named = os.environ.get("ATTENDING_MIRROR")
    return Path(named).expanduser().absolute() if named else None


def read_only() -> HomeReadOnly:
    return HomeReadOnly(
        "the hospital's folder cannot be written",
        "a folder that the person running the program may write",
        "set ATTENDING_HOME or --home to such a folder, or mend the folder's permissions",
    )


def disk_full() -> DiskFull:
    return DiskFull(
        "no space is left on the disk of the hospital's folder; nothing was kept half-done",
        "room for the study, its pictures and the database",
        "free some space, or move the folder and set ATTENDING_HOME; then run the same command again",
    )


@contextmanager
def writing() -> Iterator[None]:
    """Turns the system's refusals into HomeReadOnly and DiskFull; other OSErrors pass.

    The cause is cut off: its text holds paths.
    """
    try:
        yield
    except OSError as e:
        if e.errno in NO_SPACE:
            raise disk_full() from None
        if e.errno in NO_PERMISSION:
            raise read_only() from None
        if e.errno in (errno.ENOTDIR, errno.EEXIST):
            raise HomeReadOnly(
                "a file stands where the hospital's folder should be",
                "a folder, or a name that does not exist yet",
                "set ATTENDING_HOME or --home to a folder",
            ) from None
        raise
