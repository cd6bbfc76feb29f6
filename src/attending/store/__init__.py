"""The only writer of hospital state: readings and reviews, objects, the encrypted vault, releases, and the audit log.

One verb: ``Store.open(home)``. Whatever it keeps exists from the moment of one database transaction, never before.
"""

from .rows import ReadingRow, Vector
from .store import Store

__all__ = ["ReadingRow", "Store", "Vector"]
