"""Attending: a study goes in; a checked draft report comes out in which every sentence cites its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import Hospital

__all__ = ["Hospital", "__version__"]


def __getattr__(name: str) -> Any:
    """``attending.Hospital`` without loading anything until it is asked for."""
    if name == "Hospital":
        from .api import Hospital

        return Hospital
    raise AttributeError(f"module 'attending' has no attribute {name!r}")
