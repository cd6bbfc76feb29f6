"""Content-addressed arrays and bytes, Case-only, through fsspec: kept once, and read back proven."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import array_key
from .database import sync_folder

KEY = re.compile(r"[0-9a-f]{64}")


class Objects:
    """``objects/ab/abcd... .npy`` or ``.bin`` under root."""

    def __init__(self, root: Path, temporary: Path) -> None:
        import fsspec

        self.fs, self.root, self.temporary = fsspec.filesystem("file"), root, temporary

    def put_array(self, array: NDArray[Any]) -> str:
        key = array_key(array)
        path = self._path(key, "npy")
        if not self.fs.exists(str(path)):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            self._write(path, buffer.getbuffer())
        return key

    def get_array(self, key: str) -> NDArray[Any]:
        with self._open(key, "npy") as f:
            array: NDArray[Any] = np.load(io.BytesIO(f.read()), allow_pickle=False)
        if array_key(array) != key:
            raise _damaged()
        array.flags.writeable = False
        return array

    def has_array(self, key: str) -> bool:
        return bool(KEY.fullmatch(key)) and bool(self.fs.exists(str(self._path(key, "npy"))))

    def put_bytes(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        path = self._path(key, "bin")
        if not self.fs.exists(str(path)):
            self._write(path, data)
        return key

    def get_bytes(self, key: str) -> bytes:
        with self._open(key, "bin") as f:
            data: bytes = f.read()
        if hashlib.sha256(data).hexdigest() != key:
            raise _damaged()
        return data

    def _path(self, key: str, kind: str) -> Path:
        return self.root / key[:2] / f"{key}.{kind}"

    def _open(self, key: str, kind: str) -> Any:
        try:
            if not KEY.fullmatch(key):
                raise FileNotFoundError
            return self.fs.open(str(self._path(key, kind)), "rb")
        except FileNotFoundError:
            raise StoreError(
                "an array or file that a record refers to is not in objects/",
                "the folder as this program wrote it",
                "restore objects/ from a backup",
            ) from None

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        temporary = self.temporary / f"{path.name}.{os.urandom(4).hex()}"
        self.fs.makedirs(str(path.parent), exist_ok=True)
        try:
            with self.fs.open(str(temporary), "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            self.fs.mv(str(temporary), str(path))
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _damaged() -> StoreError:
    return StoreError(
        "an object's content is not what its name says",
        "content whose hash is its name",
        "restore objects/ from a backup",
    )
