"""Exporting: what leaves the house. The page and the JSON of a reading (Case-only), and, rejoined with its Study, the
DICOM segmentation, the structured report and the FHIR bundle that clinical systems take."""

from .export import export, may_leave
from .index import Caught, caught_in, index_page
from .page import Identity, page
from .public import public

__all__ = ["Caught", "Identity", "caught_in", "export", "index_page", "may_leave", "page", "public"]
