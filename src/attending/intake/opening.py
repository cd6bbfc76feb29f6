"""From paths to studies: sniffed by content, grouped by study, decoded; every bad input one Refusal."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..errors import InputRefused, ModalityUndeclared, NotAnImage, Refusal, SameUidOtherBytes, TooLarge, Truncated
from ..records import SourceFile, Stack, Study
from .describe import MODALITIES, text
from .dicom import Built, Entry, build, common_label, in_order
from .given import instance_uid
from .instance import open_instance
from .layout import layout
from .quiet import quiet
from .sniff import Kind, sniff
from .walk import Candidate, read, walk

Progress = Callable[[int, int], None]


class Limits(Protocol):
    """What one input may claim: the ``limits`` of the site settings."""

    @property
    def max_voxels(self) -> int: ...
    @property
    def max_file_mib(self) -> int: ...


@dataclass(frozen=True)
class DefaultLimits:
    """The site's defaults, for callers without a site."""

    max_voxels: int = 400_000_000
    max_file_mib: int = 2048


@dataclass(frozen=True)
class Opened:
    """studies: one for each DICOM study (and patient), NIfTI or picture; refused: one for each input not read.

    inputs  for each study, the path as the user typed it: a file, or the folder that its files have in common.
    """

    studies: tuple[Study, ...]
    refused: tuple[Refusal, ...]
    inputs: tuple[str, ...] = field(default=(), repr=False)


def open(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    declared: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Opened:
    """Read files and folders into identified Studies, exactly as received.

    declared   modality, view, body_part of pictures and NIfTI (DICOM says its own).
    limits     max_voxels of one study, max_file_mib of one file.
    progress   called as progress(done, total) in files; every file counts twice, once read and once decoded.

    Voxels are (z, y, x) int16, uint16 or float32, or (z, y, x, 3) uint8 sRGB; affines map (x, y, z) to LPS mm.
    Bad input never raises: each becomes a Refusal whose error says what was seen, what was allowed and what to do,
    without any identifier.
    """
    studies: list[Study] = []
    refused: list[Refusal] = []
    inputs: list[str] = []
    for item in each(paths, declared=declared, limits=limits, progress=progress):
        if isinstance(item, Refusal):
            refused.append(item)
        else:
            studies.append(item[1])
            inputs.append(item[0])
    return Opened(tuple(studies), tuple(refused), tuple(inputs))


def each(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    declared: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Study] | Refusal]:
    """``open``, one study at a time, as (input as typed, study), so that an archive needs the memory of one study.

    All files are looked at first, since the images of one study may lie anywhere below the paths.
    """
    typed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    said = {str(k): str(v) for k, v in (declared or {}).items()}
    bounds = limits or DefaultLimits()
    with quiet():
        found, refused = walk(typed, bounds.max_file_mib * 2**20)
        reader = _Reader(said, bounds, _Counter(progress, 2 * len(found)))
        for candidate in found:
            reader.add(candidate)
    told = 0
    yield from refused
    for key in reader.order:
        with quiet():
            made = reader.study(key)
        yield from reader.refused[told:]
        told = len(reader.refused)
        if made is not None:
            yield made
    reader.lone_directories()
    yield from reader.refused[told:]


def decode(study: Study, *, limits: Limits | None = None) -> Study:
    """The same study with its stacks rebuilt from its files (a study from the vault comes without).

    Raises InputRefused where the files no longer decode, which only a damaged vault or another version can cause.
    """
    declared, bounds = dict(study.declared), limits or DefaultLimits()
    with quiet():
        if study.kind != "dicom":
            return replace(study, stacks=_flat(study.kind, study.files[0].data, declared, bounds))
        entries = [_entry(Candidate("", Path(), "", False), f.name, f.data, f.sha256, bounds) for f in study.files]
        built = build(entries, declared, bounds.max_voxels, lambda: None)
    if built.refused:
        raise built.refused[0][1]
    return replace(study, stacks=built.stacks, restored=built.given.values)


class _Counter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, steps: int = 1) -> None:
        self.done = min(self.total, self.done + steps)
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass(frozen=True)
class _Met:
    """A DICOM file that was looked at and put down again, to be read when its study's turn comes."""

    candidate: Candidate
    sha256: str


KEPT_IN_MEMORY = 512 * 2**20
"""Bytes of DICOM files kept from the first look to the reading; what comes after is read from disk a second time."""


class _Reader:
    """Looks at every file, then makes studies of them in the order in which their first file was met."""

    def __init__(self, declared: dict[str, str], limits: Limits, tick: _Counter) -> None:
        self.declared, self.limits, self.tick = declared, limits, tick
        self.refused: list[Refusal] = []
        self.flat: dict[str, tuple[Kind, Candidate]] = {}
        self.groups: dict[Hashable, list[Entry | _Met]] = defaultdict(list)
        self.folders: dict[Hashable, set[str]] = defaultdict(set)
        self.by_uid: dict[str, str] = {}
        self.duplicates: dict[Hashable, int] = defaultdict(int)
        self.directories: list[Candidate] = []
        self.order: list[Hashable] = []
        self.kept = 0

    def add(self, candidate: Candidate) -> None:
        try:
            data = read(candidate)
            kind = sniff(data)
            digest = hashlib.sha256(data).hexdigest()
            if kind == "dicom":
                self._dicom(candidate, data, digest)
            elif digest not in self.flat:
                self.flat[digest] = (kind, candidate)
                self.order.append(digest)
            self.tick()
        except InputRefused as error:
            self.refused.append(Refusal(candidate.label, error))
            self.tick(2)

    def _one(self, digest: str) -> tuple[str, Study] | None:
        kind, candidate = self.flat[digest]
        self.tick()
        try:
            data = self._again(candidate, digest)
            stacks = _flat(kind, data, self.declared, self.limits)
        except InputRefused as error:
            self.refused.append(Refusal(candidate.label, error))
            return None
        files = (SourceFile(candidate.path.name, data, digest),)
        study = Study(kind, study_digest([digest]), files, stacks, declared=tuple(sorted(self.declared.items())))
        return candidate.label, study

    def _again(self, candidate: Candidate, digest: str) -> bytes:
        """The bytes of a file that was looked at before; refused where they are others by now."""
        data = read(candidate)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Truncated("a file that changed while it was read", "a file at rest", "read it again once it is whole")
        return data

    def _dicom(self, candidate: Candidate, data: bytes, digest: str) -> None:
        try:
            entry = _entry(candidate, candidate.path.name, data, digest, self.limits)
        except NotAnImage as error:
            if candidate.in_folder and "DICOMDIR" in error.seen:
                self.directories.append(candidate)
                return
            raise
        header = entry.instance.header
        study = text(header, "StudyInstanceUID")
        patient = text(header, "PatientID")
        missing = (entry.folder, *(text(header, k) for k in ("StudyDate", "StudyID", "AccessionNumber")))
        group = (study or missing, patient)
        uid = instance_uid(entry.instance, digest)[0]
        known = self.by_uid.get(uid, digest)
        if known != digest:
            raise SameUidOtherBytes(
                "an image with the same unique identifier as another one, but other content",
                "one content for one SOP Instance UID",
                "find out which of the two is genuine, and read that one alone",
            )
        if uid in self.by_uid:
            self.duplicates[group] += 1
            return
        self.by_uid[uid] = digest
        if not self.groups[group]:
            self.order.append(group)
        self.folders[group].add(entry.folder)
        self.kept += len(data)
        self.groups[group].append(entry if self.kept <= KEPT_IN_MEMORY else _Met(candidate, digest))

    def study(self, key: Hashable) -> tuple[str, Study] | None:
        """The study of one key of ``order`` with the input it came from; None where it was refused."""
        return self._one(key) if isinstance(key, str) else self._study(key)

    def lone_directories(self) -> None:
        for candidate in self.directories:
            if not any(_is_below(folder, candidate.folder) for group in self.folders.values() for folder in group):
                error = NotAnImage(
                    "a DICOMDIR index without its images", "DICOM images", "name the folder of the images"
                )
                self.refused.append(Refusal(candidate.label, error))

    def _entries(self, key: Hashable) -> list[Entry]:
        """The files of one study, those put down read again; they are forgotten here, to free their memory."""
        entries = []
        for met in self.groups.pop(key):
            if isinstance(met, Entry):
                entries.append(met)
                continue
            try:
                data = self._again(met.candidate, met.sha256)
                entries.append(_entry(met.candidate, met.candidate.path.name, data, met.sha256, self.limits))
            except InputRefused as error:
                self.refused.append(Refusal(met.candidate.label, error))
        return entries

    def _study(self, key: Hashable) -> tuple[str, Study] | None:
        entries = in_order(self._entries(key))
        if not entries:
            return None
        label = common_label([e.label for e in entries])
        try:
            built = build(entries, self.declared, self.limits.max_voxels, self.tick)
        except InputRefused as error:
            self.refused.append(Refusal(label, error))
            return None
        except MemoryError:
            self.refused.append(Refusal(label, _no_memory()))
            return None
        self.refused += [Refusal(e.label, error) for e, error in built.refused]
        return (label, self._made(built, key)) if built.entries else None

    def _made(self, built: Built, key: Hashable) -> Study:
        files = tuple(SourceFile(e.name, e.data, e.sha256) for e in built.entries)
        given = list(built.given.words)
        if self.duplicates[key]:
            given.append(f"{self.duplicates[key]} further copies of the same images left out")
        if any(_is_below(e.folder, d.folder) for d in self.directories for e in built.entries):
            given.append("the DICOMDIR index beside the images left out")
        return Study(
            "dicom",
            study_digest([f.sha256 for f in files]),
            files,
            built.stacks,
            tuple(given),
            declared=tuple(sorted(self.declared.items())),
            restored=built.given.values,
        )


def study_digest(digests: Sequence[str]) -> str:
    """sha256 over the sorted sha256 of the files: the same bytes give the same digest, however they are named."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _entry(candidate: Candidate, name: str, data: bytes, digest: str, limits: Limits) -> Entry:
    instance = open_instance(data, limits.max_file_mib * 2**20)
    it = layout(instance, limits.max_voxels)
    return Entry(candidate.label, candidate.folder, name, data, digest, instance, it)


def _flat(kind: str, data: bytes, declared: dict[str, str], limits: Limits) -> tuple[Stack, ...]:
    """The stacks of a NIfTI or a picture."""
    modality = declared.get("modality", "").strip().upper()
    what = "a NIfTI volume" if kind == "nifti" else "a picture"
    if modality not in MODALITIES:
        raise ModalityUndeclared(
            f"{what} without a declared modality" if not modality else f"{what} declared as an unknown modality",
            "a DICOM modality such as MR, CT, CR, DX or US",
            "say it with --modality (and --view where it matters)",
        )
    try:
        if kind == "nifti":
            from . import nifti

            return nifti.stacks(data, modality, declared, limits.max_voxels, limits.max_file_mib * 2**20)
        from . import pictures

        return (pictures.stack(data, modality, declared, limits.max_voxels),)
    except MemoryError:
        raise _no_memory() from None


def _no_memory() -> TooLarge:
    return TooLarge(
        "an image larger than the free memory",
        "an image that fits into memory",
        "free memory first, or read fewer files at once",
    )


def _is_below(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(f"{top.rstrip(os.sep)}{os.sep}")


__all__ = ["DefaultLimits", "Limits", "Opened", "decode", "each", "open", "study_digest"]
