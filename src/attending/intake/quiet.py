"""Silence for foreign libraries: their warnings and logs may quote header values, which are identifiers."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("pydicom", "nibabel", "nibabel.global", "PIL", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls", "gdcm")


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line of a decoding library leaves this block; both are restored after it."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.propagate, logger.handlers) for logger in loggers]
    try:
        for logger in loggers:
            # children hand their records up to here, and no further
            logger.propagate, logger.handlers = False, [logging.NullHandler()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers


@contextmanager
def native_quiet() -> Iterator[None]:
    """C decoders print their complaints straight to the process's stderr: it is turned away for the moment of a frame.

    Where stderr has no descriptor (closed, or captured in memory) nothing is done.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
