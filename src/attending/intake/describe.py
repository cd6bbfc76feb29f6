"""What is said of an image beside its voxels: modality, view, unit and notes; never free text of a header."""

from __future__ import annotations

import copy
from typing import Any

from .instance import Instance
from .layout import Layout

# PS3.16 CID 29 (acquisition) and CID 32, as far as they name images; PS3.3 C.7.3.1.1.1.
_MODALITIES = """BDUS BI BMD CFM CR CT DG DMS DX EM ES FA FID FS GM IO IOL IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP
    OPENM OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA POS PT PX RF RG RTIMAGE SC SM SRF STAIN TG US VA XA XC XAPROTOCOL HC
    CS CD DD DF DM DS EC ECHO LP MA MS ST VF AS CP"""
MODALITIES = frozenset(_MODALITIES.split())
_VIEWS = """PA AP LL RL LAT LATERAL LLD RLD LLO RLO LPO RPO LAO RAO OBLIQUE AXIAL CORONAL SAGITTAL CC MLO ML LM LMO XCC
    XCCL XCCM FB SIO ISO AT CV SMV SUBMENTOVERT DECUBITUS TANGENTIAL SKYLINE SUNRISE"""
VIEWS = frozenset(_VIEWS.split())
LOSSY = frozenset(
    f"1.2.840.10008.1.2.4.{tail}" for tail in ("50", "51", "81", "91", "203", "93", "100", "101", "102", "103")
)


def modality_of(header: Any, declared: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """(DICOM modality, notes). The header's where it is a defined term, else the declared, else OT; said so."""
    own = text(header, "Modality").upper()
    said = declared.get("modality", "").strip().upper()
    if own in MODALITIES:
        notes = (
            ()
            if said in ("", own)
            else (f"declared as {said if said in MODALITIES else 'other'}, but its header says {own}",)
        )
        return own, tuple(notes)
    if said in MODALITIES:
        return said, ("the modality was missing or unknown: taken as declared",)
    return "OT", ("the modality was missing or unknown: taken as OT (other)",)


def known_view(header: Any, plane: str | None, declared: dict[str, str]) -> str | None:
    """ViewPosition of the header, else the plane that the geometry says, else the declared view; only known terms."""
    for value in (text(header, "ViewPosition"), plane or "", declared.get("view", "")):
        term = value.strip().upper()
        if term in VIEWS:
            return term
    return None


def unit_of(modality: str, header: Any, rescale: tuple[float, float] | None) -> str:
    """UCUM unit of a voxel after the Modality LUT."""
    kind = text(header, "RescaleType").upper()
    if modality == "CT" and rescale is not None and kind in ("", "HU"):
        return "[hnsf'U]"
    if modality == "PT" and text(header, "Units").upper() == "BQML":
        return "Bq/mL"
    return "1"


def instance_notes(instance: Instance, it: Layout, rescale: tuple[float, float] | None) -> list[str]:
    """What was done to the pixels of one instance, in words."""
    header, modality = instance.header, modality_of(instance.header, {})[0]
    notes = [*instance.given, *it.notes]
    if it.photometric == "PALETTE COLOR":
        notes.append("palette colour resolved to RGB")
    elif it.photometric.startswith("YBR"):
        notes.append(f"{it.photometric} converted to RGB")
    elif header.get("ModalityLUTSequence") and not it.colour:
        notes.append("Modality LUT applied")
    elif rescale is not None and not it.colour:
        is_hu = unit_of(modality, header, rescale).startswith("[hnsf")
        notes.append("rescaled to HU" if is_hu else "rescaled as the header says")
    elif modality == "CT" and not it.colour:
        notes.append("a CT without rescale: values are not HU")
    if it.photometric == "MONOCHROME1":
        kept = modality in ("CT", "PT") and rescale is not None
        notes.append("MONOCHROME1: values kept, they carry a unit" if kept else "MONOCHROME1 inverted")
    if "PixelPaddingValue" in header and not it.colour:
        notes.append("pixel padding value present: padded pixels kept as they are")
    notes += _overlays(header)
    if instance.syntax in LOSSY or text(header, "LossyImageCompression") == "01":
        notes.append("lossy compressed at some time")
    if "EncryptedAttributesSequence" in header:
        notes.append("some header attributes are encrypted and were not read")
    if it.stored < it.allocated and it.high != it.stored - 1:
        notes.append("stored bits are not the lowest: shifted down")
    return notes


def _overlays(header: Any) -> list[str]:
    notes = []
    planes = [group for group in range(0x6000, 0x6020, 2) if (group, 0x0010) in header]
    if any(int(_number(header, group, 0x0102)) > 0 for group in planes):
        notes.append("overlay in the unused bits of the pixels masked")
    if any((group, 0x3000) in header for group in planes):
        notes.append("overlay planes not drawn")
    return notes


def _number(header: Any, group: int, element: int) -> int:
    try:
        return int(header[group, element].value)
    except Exception:  # absent or malformed
        return 0


def clean(header: Any) -> Any:
    """A copy of the header in which every element can be read; those that cannot are left out."""
    made = copy.deepcopy(header)
    for tag in list(made.keys()):
        try:
            element = made[tag]
            if element.VR == "SQ":
                for item in element.value:
                    for _ in item.iterall():
                        pass
            else:
                str(element.value) if element.VR not in ("OB", "OW", "UN") else element.value
        except Exception:  # whatever pydicom raises on a malformed value
            del made[tag]
    return made


def text(header: Any, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").strip()
    except Exception:  # whatever pydicom raises on a malformed value
        return ""
