"""Exporting: what leaves the house. The page and the JSON of a reading (Case-only), and, rejoined with its Study, the
DICOM segmentation, the structured report and the FHIR bundle that clinical systems take."""

from .export import export, may_leave
from .identity import Identity, identity
from .index import Caught, caught_in, index_page
from .page import page
from .public import public

__all__ = ["Caught", "Identity", "caught_in", "export", "identity", "index_page", "may_leave", "page", "public"]
