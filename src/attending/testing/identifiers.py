"""Plants long unique identifiers in every attribute of a DICOM file, so that a test can prove that none gets out.

What an image is made of stays as it is (pixels, geometry, encoding, SOP class, modality): the file still opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
# Groups that say how pixels are laid out, overlays, curves and waveforms; and attributes that say what the file is.
STRUCTURE = frozenset(
    {0x0028, 0x3002, 0x3004, 0x3006, 0x300A, 0x300C, 0x5400, 0x5600, 0x7FE0, 0xFFFA, 0xFFFC, 0xFFFE, 0x0000}
)
KEPT = frozenset(
    {
        "SpecificCharacterSet",
        "SOPClassUID",
        "Modality",
        "ImageType",
        "FrameType",
        "ScanningSequence",
        "SequenceVariant",
        "VolumetricProperties",
        "VolumeBasedCalculationTechnique",
        "FileMetaInformationVersion",
        "TransferSyntaxUID",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "LengthToEnd",
        "TimezoneOffsetFromUTC",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "DimensionOrganizationSequence",
        "DimensionIndexSequence",
        "WaveformSequence",
        "IconImageSequence",
        "DirectoryRecordSequence",
        "RescaleType",
        "Units",
        "CountsSource",
        "SeriesType",
        "FrameIncrementPointer",
        "BurnedInAnnotation",
    }
)
LENGTH = {"AE": 16, "SH": 16, "LO": 40, "ST": 60, "LT": 60, "UT": 60, "UC": 60, "UR": 60, "CS": 16}


@dataclass(frozen=True)
class Planted:
    """A DICOM file full of identifiers.

    data: the file; name: its name, an identifier too; strings: everything planted, and the parts of it (name parts,
    words) that are long enough to be told from anything else.
    """

    data: bytes = field(repr=False)
    name: str
    strings: frozenset[str] = field(repr=False)


class _Seed:
    """Unique words and numbers from a counter: the same file plants the same identifiers."""

    def __init__(self, seed: int) -> None:
        self.count = seed * 1_000_000
        self.strings: set[str] = set()

    def word(self, length: int = 12) -> str:
        self.count += 1
        number, letters = self.count, ""
        for _ in range(length - 2):
            number, digit = divmod(number * 7 + 3, len(ALPHABET))
            letters += ALPHABET[digit]
        # The counter itself at the end: a short word must not come twice.
        tail, n = "", self.count
        while n:
            n, digit = divmod(n, len(ALPHABET))
            tail += ALPHABET[digit]
        word = ("ZQ" + letters)[: max(2, length - len(tail))] + tail
        self.strings.add(word)
        return word

    def value(self, vr: str) -> str:
        """A value that is valid for its VR where the standard lets an identifier be; noted with its parts."""
        self.count += 1
        if vr == "PN":
            text = f"{self.word()}^{self.word()}^{self.word()}={self.word()}^{self.word()}"
            self.strings.add(text)
            return text
        if vr == "UI":
            text = f"1.2.826.0.1.3680043.{10**12 + self.count * 7919}.{10**15 + self.count}"
        elif vr in ("DA", "DT"):
            text = f"{1903 + self.count % 20}{self.count % 12 + 1:02}{self.count % 28 + 1:02}"
            text += f"112233.{self.count % 10**6:06}" if vr == "DT" else ""
        elif vr == "TM":
            text = f"{self.count % 24:02}{self.count % 60:02}{self.count % 59:02}.{self.count % 10**6:06}"
        elif vr in ("ST", "LT", "UT", "UC", "LO"):
            text = f"{self.word()} {self.word()} {self.word()}"
        elif vr == "UR":
            text = f"https://{self.word().lower()}.example/{self.word()}"
            self.strings.add(text.split("/")[2].split(".")[0])
        else:
            return self.word(LENGTH.get(vr, 12))
        self.strings.add(text)
        return text


def plant(dataset: Any, seed: int = 1) -> Planted:
    """A copy of a pydicom file dataset with identifiers in every attribute that can carry a text.

    What is there is overwritten; what the dictionary knows beside it is added at the top and in one item of every
    sequence; private elements are overwritten and added, in private blocks too.
    """
    import copy

    made = copy.deepcopy(dataset)
    sown = _Seed(seed)
    _overwrite(made, sown)
    _add_all(made, sown)
    block = made.private_block(0x0009, sown.word(), create=True)
    for offset, vr in enumerate(("LO", "PN", "SH", "UI", "DA", "LT", "UN"), 1):
        block.add_new(offset, vr, sown.value("LO").encode() if vr == "UN" else sown.value(vr))
    if getattr(made, "file_meta", None) is not None:
        _overwrite(made.file_meta, sown)
        made.file_meta.SourceApplicationEntityTitle = sown.value("AE")
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    name = f"{sown.word()}_{sown.word()}.dcm"
    sown.strings.add(name)
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return Planted(buffer.getvalue(), name, frozenset(s for s in sown.strings if len(s) >= 8))


def _overwrite(dataset: Any, sown: _Seed) -> None:
    for element in list(_within(dataset)):
        if element.VR in TEXT and (element.VR != "CS" or element.value):
            several = type(element.value).__name__ == "MultiValue"
            element.value = [sown.value(element.VR) for _ in element.value] if several else sown.value(element.VR)
        elif element.tag.is_private and element.VR == "UN":
            element.value = sown.value("LO").encode()


def _within(dataset: Any) -> Iterator[Any]:
    for element in dataset:
        if element.tag.group in STRUCTURE or element.keyword in KEPT or element.tag.is_private_creator:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _within(item)
        else:
            yield element


TEXT = frozenset({"PN", "UI", "DA", "DT", "TM", "ST", "LT", "UT", "UC", "UR", "LO", "SH", "AE", "CS"})


def _add_all(dataset: Any, sown: _Seed) -> None:
    from pydicom.datadict import DicomDictionary
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if not keyword or retired or keyword in KEPT or (tag >> 16) in STRUCTURE or (tag >> 16) < 8:
            continue
        if keyword in dataset or vr == "CS":
            continue
        if vr in TEXT:
            dataset.add_new(tag, vr, sown.value(vr))
        elif vr == "SQ":
            item = Dataset()
            item.PatientName, item.PatientID, item.CodeMeaning = sown.value("PN"), sown.value("LO"), sown.value("LO")
            item.ReferencedSOPInstanceUID, item.TextValue = sown.value("UI"), sown.value("UT")
            dataset.add_new(tag, vr, Sequence([item]))
