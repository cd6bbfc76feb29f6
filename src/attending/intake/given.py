"""UIDs that were missing, made from the content so that the same bytes always get the same UIDs; and said so."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

CT, MR, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"


class File(Protocol):
    @property
    def sha256(self) -> str: ...
    @property
    def instance(self) -> Any: ...


@dataclass(frozen=True)
class Given:
    """words: one sentence for each kind; values: per file, the (keyword, value) pairs that were missing."""

    words: tuple[str, ...]
    values: tuple[tuple[tuple[str, str], ...], ...]


def uid(*parts: str) -> str:
    """A UID under the UUID root 2.25, made from the parts."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def instance_uid(instance: Any, sha256: str) -> tuple[str, str]:
    """(SOP Instance UID, where it comes from: "header", "meta" or "given")."""
    own = _text(instance.header, "SOPInstanceUID")
    if own:
        return own, "header"
    meta = _text(getattr(instance.header, "file_meta", None), "MediaStorageSOPInstanceUID")
    return (meta, "meta") if meta else (uid("instance", sha256), "given")


def give(entries: Sequence[File], placed: set[int]) -> Given:
    """What each file lacks. placed: the indices of files with a position, which need a frame of reference."""
    study = uid("study", *sorted(e.sha256 for e in entries if not _text(e.instance.header, "StudyInstanceUID")))
    words: dict[str, int] = {}
    values = []
    for i, e in enumerate(entries):
        header = e.instance.header
        own: list[tuple[str, str]] = []

        def add(keyword: str, value: str, why: str, own: list[tuple[str, str]] = own) -> None:
            own.append((keyword, value))
            words[f"{keyword} was missing: {why}"] = words.get(f"{keyword} was missing: {why}", 0) + 1

        instance, source = instance_uid(e.instance, e.sha256)
        if source != "header":
            add("SOPInstanceUID", instance, "taken from the file meta" if source == "meta" else "made from the content")
        if not _text(header, "SOPClassUID"):
            meta = _text(getattr(header, "file_meta", None), "MediaStorageSOPClassUID")
            by_modality = {"CT": CT, "MR": MR}.get(_text(header, "Modality"), SC)
            add("SOPClassUID", meta or by_modality, "taken from the file meta" if meta else "taken from the modality")
        if not _text(header, "StudyInstanceUID"):
            add("StudyInstanceUID", study, "made from the content of the folder's files")
        study_uid = _text(header, "StudyInstanceUID") or study
        series = _text(header, "SeriesInstanceUID")
        if not series:
            series = uid("series", study_uid, _text(header, "SeriesNumber"), _text(header, "Modality"))
            add("SeriesInstanceUID", series, "made from the study and the series number")
        if i in placed and not _text(header, "FrameOfReferenceUID"):
            add("FrameOfReferenceUID", uid("frame", study_uid, series), "made for the series")
        values.append(tuple(own))
    said = tuple(f"{text} ({count} of {len(entries)} files)" for text, count in words.items())
    return Given(said, tuple(values))


def _text(header: Any, keyword: str) -> str:
    if header is None:
        return ""
    try:
        return str(header.get(keyword) or "").strip()
    except Exception:  # whatever pydicom raises on a malformed value
        return ""
