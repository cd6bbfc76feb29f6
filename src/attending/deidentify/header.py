"""Careful reading of headers that break the standard: nothing here raises for a bad value; it is absent instead."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from typing import Any

from pydicom.errors import BytesLengthException

from ..records import Study

BAD_VALUE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    LookupError,
    OverflowError,
    RecursionError,
    struct.error,
    BytesLengthException,
)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line of pydicom leaves this block: they quote header values, which are identifiers."""
    logger = logging.getLogger("pydicom")
    before = (logger.propagate, logger.handlers)
    try:
        logger.propagate, logger.handlers = False, [logging.NullHandler()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate, logger.handlers = before


def values(header: Any, keyword: str) -> tuple[str, ...]:
    """The non-empty values of an attribute as stripped texts; () for an absent, empty or broken one, or no header."""
    if header is None:
        return ()
    try:
        value = header.get(keyword)
    except BAD_VALUE:
        return ()
    return _texts(value)


def value(header: Any, keyword: str) -> str | None:
    """The first of ``values``, or None."""
    found = values(header, keyword)
    return found[0] if found else None


def number(header: Any, keyword: str) -> float | None:
    """The first value as a number, or None."""
    try:
        return float(value(header, keyword) or "nothing")
    except ValueError:
        return None


def items(header: Any, keyword: str) -> list[Any]:
    """The items of a sequence; [] for anything else."""
    if header is None:
        return []
    try:
        found = header.get(keyword)
        return list(found) if found and not isinstance(found, str | bytes) else []
    except BAD_VALUE:
        return []


def anywhere(header: Any, keyword: str) -> str | None:
    """The first value at the top, else in the functional groups of an enhanced image."""
    top = value(header, keyword)
    if top is not None:
        return top
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(header, groups)[:1]:
            for element in _elements(group):
                if element.keyword == keyword and (texts := _texts(element.value)):
                    return texts[0]
    return None


def headers(study: Study) -> list[Any]:
    """Every header of a DICOM study: of its stacks, and of each file as received (the vault gives no stacks)."""
    found = [stack.header for stack in study.stacks if stack.header is not None]
    if study.kind == "dicom":
        found += [header for file in study.files if (header := read(file.data)) is not None]
    return found


def read(data: bytes) -> Any:
    """The header of one DICOM file without its pixels, or None where it cannot be parsed."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(BytesIO(data), stop_before_pixels=True, force=True)
    except (InvalidDicomError, EOFError, OSError, zlib.error, *BAD_VALUE):
        return None


def elements(header: Any) -> Iterator[Any]:
    """Every element of a header, its file meta and its sequences' items included; broken ones are passed over."""
    yield from _elements(header)
    meta = getattr(header, "file_meta", None)
    if meta is not None:
        yield from _elements(meta)


def _elements(dataset: Any) -> Iterator[Any]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            below = list(element.value) if element.VR == "SQ" and element.value else []
        except BAD_VALUE:
            continue
        yield element
        for item in below:
            yield from _elements(item)


def texts(element: Any) -> tuple[str, ...]:
    """The values of an element as texts; bytes of unknown VR where they are printable."""
    try:
        return _texts(element.value)
    except BAD_VALUE:
        return ()


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, bytes):
        text = value.rstrip(b"\0 ").decode("utf-8", "replace")
        return (text.strip(),) if text.strip() and text.isprintable() else ()
    # PersonName and the date types iterate over their letters; only true lists hold several values.
    several = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else (value,)
    try:
        return tuple(text for v in several if v is not None and (text := str(v).replace("\0", "").strip()))
    except BAD_VALUE:
        return ()


def day(text: str | None) -> date | None:
    """A DICOM date: YYYYMMDD, the old YYYY.MM.DD, YYYY-MM-DD or YYYY/MM/DD, or the front of a date-time; else None."""
    if not text:
        return None
    head = text.strip()
    for mark in ".-/":
        if head[4:5] == mark and head[7:8] == mark:
            head = head[:4] + head[5:7] + head[8:]
            break
    digits = head[:8]
    # A longer run of digits is a date-time; anything else behind the eight is not a date at all.
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit() or (head[8:9] or "0") not in "0123456789.+-T ":
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
