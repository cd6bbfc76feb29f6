"""Tensors out of a torch state dict without torch and without running what a pickle asks for.

A ``.pth`` file is a pickle: reading one the usual way runs whatever it names. Here an allow-list of names is all
that it may name, storages are read as numbers, and the whole happens in a process of its own, at pull, never on a
reading path: ``python -I -m attending.models.unpickle STATE_DICT OUT.npz``.

Formats: torch.save before zip archives: five pickles in a row (magic, protocol, system, object, storage keys), then
per storage its length as int64 and its numbers, little-endian. And zip archives, of torch.save or torch.jit.save: one
pickle ``ROOT/data.pkl`` and the storages under ``ROOT/data/``. A TorchScript's modules are read as plain name spaces;
its code is never run.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LIMIT_BYTES = 1 << 30
"""Far above any state dict of the catalog: a file that claims more is not one of them."""
SECONDS = 120
DEPTH = 64


class _Storage:
    """A named run of numbers, filled after the pickle was read."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype, self.count = np.dtype(dtype), count
        self.numbers: NDArray[Any] = np.empty(0, self.dtype)


class _Tensor:
    """What the pickle says of one tensor, until its storage is filled."""

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)

    def array(self) -> NDArray[Any]:
        numbers = self.storage.numbers
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.size, *self.stride)) < 0:
            raise ValueError("a tensor reaches outside its storage")
        if 0 in self.size:
            return np.empty(self.size, numbers.dtype)
        if last >= numbers.size:
            raise ValueError("a tensor reaches outside its storage")
        step = numbers.itemsize
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.size, tuple(s * step for s in self.stride), writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.size)


class _Module:
    """A module of a TorchScript archive: the attributes it was saved with, and nothing that could run."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "HalfStorage"): "<f2",
    ("torch", "DoubleStorage"): "<f8",
    ("torch", "LongStorage"): "<i8",
    ("torch", "IntStorage"): "<i4",
    ("torch", "BoolStorage"): "|b1",
}


class _Reader(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which a state dict does not need")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, str) or any(view) or not 0 <= count * 8 <= LIMIT_BYTES:
            raise pickle.UnpicklingError("the file describes a storage that a state dict does not have")
        return self.storages.setdefault(str(key), _Storage(dtype, int(count)))


def tensors(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Name -> array (float32 or int64), in the file's order.

    Raises ValueError or pickle.UnpicklingError for anything else than a plain state dict. Call it through ``apart``.
    """
    for expected in (MAGIC, PROTOCOL):
        if _Reader(stream).load() != expected:
            raise ValueError("not a torch state dict of the format before zip archives")
    if _Reader(stream).load().get("little_endian") is not True:
        raise ValueError("not little-endian")
    reader = _Reader(stream)
    state = reader.load()
    for key in _Reader(stream).load():
        storage = reader.storages[str(key)]
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise ValueError("a storage's length disagrees with its description")
        data = stream.read(count * storage.dtype.itemsize)
        storage.numbers = np.frombuffer(data, storage.dtype, count)
    if not isinstance(state, dict) or not all(isinstance(t, _Tensor) for t in state.values()):
        raise ValueError("not a flat state dict")
    return {str(name): tensor.array() for name, tensor in state.items()}


def archived(path: Path) -> dict[str, NDArray[Any]]:
    """``tensors`` of a zip archive: a state dict, or a TorchScript's parameters and buffers by their dotted names.

    Raises ValueError, KeyError, zipfile.BadZipFile or pickle.UnpicklingError for anything else.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        (described,) = (name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl"))
        root = described.removesuffix("data.pkl")
        if sizes.get(f"{root}byteorder") and archive.read(f"{root}byteorder").strip() != b"little":
            raise ValueError("not little-endian")
        if max(sizes.values()) > LIMIT_BYTES:
            raise ValueError("a member larger than any state dict of the catalog")
        with archive.open(described) as stream:
            reader = _Reader(stream)
            state = reader.load()
        for key, storage in reader.storages.items():
            data = archive.read(f"{root}data/{key}")
            if len(data) != storage.count * storage.dtype.itemsize:
                raise ValueError("a storage's length disagrees with its description")
            storage.numbers = np.frombuffer(data, storage.dtype, storage.count)
    found: dict[str, NDArray[Any]] = {}
    _collect(state, "", found)
    if not found:
        raise ValueError("no tensors")
    return found


def _collect(value: Any, name: str, found: dict[str, NDArray[Any]], depth: int = 0) -> None:
    if depth > DEPTH:
        raise ValueError("modules nested deeper than any network")
    if isinstance(value, _Tensor):
        found[name] = value.array()
    elif isinstance(value, (dict, _Module)):
        inner = value.attributes if isinstance(value, _Module) else value
        for key, part in inner.items():
            _collect(part, f"{name}.{key}" if name else str(key), found, depth + 1)


def apart(path: Path, out: Path) -> dict[str, NDArray[Any]]:
    """``tensors`` of a file, read in a separate process; ``out`` is the .npz that it writes.

    Raises PluginFailed where the file is anything else than a plain state dict.
    """
    command = [sys.executable, "-I", "-m", "attending.models.unpickle", str(path), str(out)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        why = run.stderr.strip().splitlines()[-1:] if run.returncode else []
    except subprocess.TimeoutExpired:
        why = [f"it took more than {SECONDS} s"]
    if why:
        raise PluginFailed(
            f"{path.name} cannot be read as a state dict: {why[0]}",
            "a torch state dict or TorchScript archive of plain tensors",
            "pull it again; if that does not help, report it",
        )
    with np.load(out, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _main() -> int:
    source, out = sys.argv[1:]
    if zipfile.is_zipfile(source):
        arrays: dict[str, Any] = archived(Path(source))
    else:
        with Path(source).open("rb") as stream:
            arrays = tensors(stream)
    np.savez(out, **arrays)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
