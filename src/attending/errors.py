"""Every error that a user can meet, drawn once.

    AttendingError                      what was seen, what was allowed, what to do
    ├── InputRefused                    the input cannot be read as a study
    │   ├── NotFound                    no such file or folder
    │   ├── NotAnImage                  empty, a text, an unknown format, or DICOM without pixels
    │   ├── Truncated                   the file ends before its header says it does
    │   ├── Encrypted                   the content is encrypted
    │   ├── UnsupportedEncoding         a transfer syntax or pixel layout that no installed decoder reads
    │   ├── PixelMismatch               pixel data that disagrees with its own header
    │   ├── TooLarge                    more voxels or bytes than the site allows
    │   ├── GeometryRefused             slices that cannot be stacked without inventing space
    │   ├── SameUidOtherBytes           a known SOP Instance UID with other content
    │   ├── ModalityUndeclared          a picture or NIfTI without a declared modality
    │   ├── PromptRefused               a prompt that is empty, outside the image, contradictory, or of a kind not taken
    │   └── QuestionRefused             a question that is empty, too long, or cannot be about this study
    ├── ModelRefused                    a model or data set may not or cannot be used
    │   ├── UnknownModel                no such id in the catalog
    │   ├── NotPulled                   known, but its files are not in the cache
    │   ├── PullFailed                  no source of the files could be reached
    │   ├── HashMismatch                the files are not the ones that the catalog names
    │   ├── LicenceRefused              the licence is missing or forbids this use
    │   ├── ExtraMissing                an optional library is not installed
    │   ├── PluginFailed                a plugin could not be loaded, or broke its contract
    │   ├── NotAdmitted                 the card does not admit this image
    │   ├── NotLooking                  its answers do not change when the image does
    │   ├── OutOfMemory                 it needs more memory than this machine can give
    │   └── WorkerFailed                its process ended, hung, or answered nonsense
    ├── SiteError                       site.toml is missing a key, has an unknown one, or a wrong value
    │   ├── UnknownPerson               --by names nobody in site.toml
    │   └── RoleRefused                 that person lacks the role
    ├── StoreError                      the hospital's folder cannot be used
    │   ├── HomeReadOnly                no write permission
    │   ├── DiskFull                    no space left
    │   ├── UnknownReading              no reading with that id
    │   ├── UnknownVersion              written by a newer version of this program
    │   ├── VaultLocked                 the vault's key is missing or wrong
    │   └── AuditBroken                 the audit log was changed: names the first bad entry
    ├── ReviewRefused                   an edit or signature cannot be accepted
    │   ├── EditRefused                 the edited report does not fit the reading
    │   ├── AlreadySigned               the reading is final
    │   └── IdentifierInText            an edit carries a patient identifier
    ├── ReleaseRefused                  a candidate may not become a release
    │   ├── NothingToLearn              too few reviews of one task
    │   ├── NotBetter                   the held-out comparison does not support it
    │   ├── ThinlyTested                too few held-out cases
    │   └── UnknownRelease              no release with that id
    ├── CompareRefused                  two studies, masks or readings that cannot be compared
    │   ├── OtherPatient                they are of two patients
    │   ├── NotAlike                    another modality or body part, or nothing measured in both
    │   └── RegistrationFailed          the images could not be laid over each other
    └── ExportRefused                   this reading cannot be exported in that form

Messages never carry identifiers: no patient attribute, no UID, no path inside the hospital's archive. The path that
the user typed travels beside the error, in ``Refusal.input``, not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AttendingError", "Refusal", "all_errors"]


class AttendingError(Exception):
    """Raised for anything a user can mend.

    seen, allowed and do are full phrases without a final stop; ``str()`` joins them into one line.
    """

    def __init__(self, seen: str, allowed: str, do: str) -> None:
        super().__init__(seen, allowed, do)
        self.seen, self.allowed, self.do = seen, allowed, do

    @property
    def code(self) -> str:
        """The class's name in snake_case: the stable code in JSON and the heading in docs/errors.md."""
        return snake(type(self).__name__)

    def __str__(self) -> str:
        return f"{self.seen}; allowed: {self.allowed}; do: {self.do}"


class InputRefused(AttendingError):
    """The input cannot be read as a study."""


class NotFound(InputRefused):
    """No such file or folder."""


class NotAnImage(InputRefused):
    """Empty, a text, an unknown format, or DICOM without pixels."""


class Truncated(InputRefused):
    """The file ends before its header says it does."""


class Encrypted(InputRefused):
    """The content is encrypted."""


class UnsupportedEncoding(InputRefused):
    """A transfer syntax or pixel layout that no installed decoder reads."""


class PixelMismatch(InputRefused):
    """Pixel data that disagrees with its own header."""


class TooLarge(InputRefused):
    """More voxels or bytes than the site allows."""


class GeometryRefused(InputRefused):
    """Slices that cannot be stacked without inventing space."""


class SameUidOtherBytes(InputRefused):
    """A known SOP Instance UID with other content."""


class ModalityUndeclared(InputRefused):
    """A picture or NIfTI without a declared modality."""


class ModelRefused(AttendingError):
    """A model or data set may not or cannot be used."""


class UnknownModel(ModelRefused):
    """No such id in the catalog."""


class NotPulled(ModelRefused):
    """Known, but its files are not in the cache."""


class PullFailed(ModelRefused):
    """No source of the files could be reached."""


class HashMismatch(ModelRefused):
    """The files are not the ones that the catalog names."""


class LicenceRefused(ModelRefused):
    """The licence is missing or forbids this use."""


class ExtraMissing(ModelRefused):
    """An optional library is not installed."""


class PluginFailed(ModelRefused):
    """A plugin could not be loaded, or broke its contract."""


class PromptRefused(InputRefused):
    """A prompt that is empty, outside the image, contradictory, or of a kind that the model does not take."""


class QuestionRefused(InputRefused):
    """A question that is empty, too long, or cannot be about this study."""


class NotLooking(ModelRefused):
    """The model's answers do not change when the image does."""


class OutOfMemory(ModelRefused):
    """The model needs more memory than this machine can give."""


class WorkerFailed(ModelRefused):
    """The model's process ended, hung, or answered nonsense."""


class NotAdmitted(ModelRefused):
    """The card does not admit this image."""


class SiteError(AttendingError):
    """site.toml is missing a key, has an unknown one, or a wrong value."""


class UnknownPerson(SiteError):
    """--by names nobody in site.toml."""


class RoleRefused(SiteError):
    """That person lacks the role."""


class StoreError(AttendingError):
    """The hospital's folder cannot be used."""


class HomeReadOnly(StoreError):
    """No write permission."""


class DiskFull(StoreError):
    """No space left."""


class UnknownReading(StoreError):
    """No reading with that id."""


class UnknownVersion(StoreError):
    """Written by a newer version of this program."""


class VaultLocked(StoreError):
    """The vault's key is missing or wrong."""


class AuditBroken(StoreError):
    """The audit log was changed: names the first bad entry."""


class ReviewRefused(AttendingError):
    """An edit or signature cannot be accepted."""


class EditRefused(ReviewRefused):
    """The edited report does not fit the reading."""


class AlreadySigned(ReviewRefused):
    """The reading is final."""


class IdentifierInText(ReviewRefused):
    """An edit carries a patient identifier."""


class ReleaseRefused(AttendingError):
    """A candidate may not become a release."""


class NothingToLearn(ReleaseRefused):
    """Too few reviews of one task."""


class NotBetter(ReleaseRefused):
    """The held-out comparison does not support it."""


class ThinlyTested(ReleaseRefused):
    """Too few held-out cases."""


class UnknownRelease(ReleaseRefused):
    """No release with that id."""


class CompareRefused(AttendingError):
    """Two studies, masks or readings that cannot be compared."""


class OtherPatient(CompareRefused):
    """The two studies are of two patients."""


class NotAlike(CompareRefused):
    """Another modality or body part, or nothing that was measured in both."""


class RegistrationFailed(CompareRefused):
    """The images could not be laid over each other."""


class ExportRefused(AttendingError):
    """This reading cannot be exported in that form."""


@dataclass(frozen=True)
class Refusal:
    """One refused input: the path as the user typed it (or below the folder typed), and why."""

    input: str
    error: AttendingError


def snake(name: str) -> str:
    """``SameUidOtherBytes`` -> ``same_uid_other_bytes``."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def all_errors(root: type[AttendingError] = AttendingError) -> tuple[type[AttendingError], ...]:
    """The closed list of error classes, depth first; docs/errors.md has one heading for each."""
    return (root, *(e for child in root.__subclasses__() for e in all_errors(child)))
