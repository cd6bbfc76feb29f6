"""What a file is, judged by its content, never by its name."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

from ..errors import Encrypted, InputRefused, NotAnImage, UnsupportedEncoding

Kind = Literal["dicom", "nifti", "picture"]
ALLOWED = "DICOM, NIfTI, PNG, JPEG, TIFF or BMP"
VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# magic -> (what it is in words, what to do)
OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"GIF8", "a GIF picture", "convert it to PNG"),
    (b"\0\0\0\x0cjP  ", "a bare JPEG 2000 picture", "convert it to PNG, or wrap it in DICOM"),
    (b"\xffO\xffQ", "a bare JPEG 2000 codestream", "convert it to PNG, or wrap it in DICOM"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"%PDF", "a PDF document", "export its images as DICOM or PNG"),
    (b"%!PS", "a PostScript document", "export its images as DICOM or PNG"),
    (b"PK\x03\x04", "a ZIP archive (or an office document)", "unpack it and read the folder"),
    (b"PK\x05\x06", "an empty ZIP archive", "fetch it again"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive", "unpack it and read the folder"),
    (b"Rar!", "a RAR archive", "unpack it and read the folder"),
    (b"BZh", "a bzip2 archive", "unpack it and read the folder"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it and read the folder"),
    (b"(\xb5/\xfd", "a zstd archive", "unpack it and read the folder"),
    (b"NRRD", "an NRRD volume", "convert it to NIfTI or DICOM"),
    (b"ObjectType", "a MetaImage header", "convert it to NIfTI or DICOM"),
    (b"\x89HDF", "an HDF5 container", "convert it to NIfTI or DICOM"),
    (b"CDF", "a NetCDF (MINC) volume", "convert it to NIfTI or DICOM"),
    (b"SIMPLE  =", "a FITS file", "convert it to NIfTI or DICOM"),
    (b"\x93NUMPY", "a NumPy array", "convert it to NIfTI or DICOM"),
    (b"ISO-10303", "a STEP model", "name an image instead"),
    (b"ID3", "an audio file", "name an image instead"),
    (b"OggS", "an audio or video file", "name an image instead"),
    (b"\x1aE\xdf\xa3", "a video file", "name an image instead"),
    (b"\x7fELF", "a program", "name an image instead"),
    (b"MZ", "a program", "name an image instead"),
    (b"SQLite format 3", "a database", "name an image instead"),
)
CIPHERS = (b"-----BEGIN PGP MESSAGE", b"-----BEGIN CMS", b"-----BEGIN PKCS7", b"Salted__", b"age-encryption.org/")
ENVELOPED = bytes.fromhex("06092a864886f70d010703"), bytes.fromhex("060b2a864886f70d0109100117")


def sniff(data: bytes) -> Kind:
    """DICOM (with or without preamble), NIfTI (plain or gzip) or a picture. Raises NotAnImage, Encrypted,
    UnsupportedEncoding."""
    head = data[:1024]
    if not head:
        raise NotAnImage("an empty file of 0 bytes", f"a {ALLOWED} file", "fetch or export the file again")
    if head[128:132] == b"DICM" or head[:4] == b"DICM" or _bare_dicom(head):
        return "dicom"
    if head[:2] == b"\x1f\x8b":
        return _inside_gzip(head)
    if _nifti(head):
        return "nifti"
    if head.startswith(PICTURES) or (
        head[:2] == b"BM" and len(head) > 26 and head[14] in (12, 40, 52, 56, 64, 108, 124)
    ):
        return "picture"
    raise _foreign(data, head)


def _nifti(head: bytes) -> bool:
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return True
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise UnsupportedEncoding(
            "the header half of a two-file NIfTI", "NIfTI in one file (.nii or .nii.gz)", "convert the pair to .nii.gz"
        )
    if head[:4] in (struct.pack("<i", 348), struct.pack(">i", 348)) and len(head) >= 348:
        raise UnsupportedEncoding(
            "an Analyze 7.5 header, which does not say left from right", "NIfTI or DICOM", "convert it to NIfTI"
        )
    return False


def _inside_gzip(head: bytes) -> Kind:
    try:
        inner = zlib.decompressobj(31).decompress(head, 1024)
        if len(inner) >= 8 and _nifti(inner):
            return "nifti"
    except zlib.error:
        pass
    raise NotAnImage(
        "a gzip archive that does not hold a NIfTI", f"a {ALLOWED} file", "unpack it and read what is in it"
    )


def _bare_dicom(head: bytes) -> bool:
    """A data set that starts without preamble: a first element of group 2 or 8 with a plausible VR or length."""
    if len(head) < 8:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (2, 8) or element > 0x3000:
            continue
        if head[4:6] in VRS:
            return True
        length = struct.unpack_from(f"{order}I", head, 4)[0]
        if length < 0x4000 and length % 2 == 0 and (element <= 0x20 or group == 8):
            return True
    return False


def _foreign(data: bytes, head: bytes) -> InputRefused:
    if _ciphered(head):
        return Encrypted(
            "encrypted content", f"a {ALLOWED} file in the clear", "decrypt it where it was made, then read it"
        )
    if head.startswith(b"PK\x03\x04") and _zip_encrypted(data):
        return Encrypted(
            "a ZIP archive protected by a password", "files in the clear", "unpack it with its password first"
        )
    for magic, what, do in OTHERS:
        if head.startswith(magic):
            return NotAnImage(what, f"a {ALLOWED} file", do)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return NotAnImage("a WebP picture", f"a {ALLOWED} file", "convert it to PNG")
    if head[4:8] == b"ftyp":
        return NotAnImage("a video or a HEIF photo", f"a {ALLOWED} file", "name an image instead")
    if len(data) < 132:
        return NotAnImage(
            f"{len(data)} bytes that are no known format", f"a {ALLOWED} file", "fetch or export it again"
        )
    if _is_text(head):
        return NotAnImage("a text", f"a {ALLOWED} file", "name an image instead")
    return NotAnImage(
        "an unknown format, or content damaged or encrypted at its start",
        f"a {ALLOWED} file",
        "convert it, decrypt it, or fetch it again",
    )


def _ciphered(head: bytes) -> bool:
    if head.lstrip().startswith(CIPHERS) or (head[:1] == b"0" and any(oid in head[:48] for oid in ENVELOPED)):
        return True
    # OpenPGP packets: public-key (tag 1) or passphrase (tag 3) encrypted session key, in old and new framing.
    pgp_old = head[0] in (0x84, 0x85, 0x86) and head[{0x84: 2, 0x85: 3, 0x86: 5}[head[0]] :][:1] in (b"\x03", b"\x06")
    pgp_pass = head[0] in (0x8C, 0xC3) and head[2:3] in (b"\x04", b"\x05", b"\x06")
    pgp_new = head[0] == 0xC1 and (head[2:3] in (b"\x03", b"\x06") or head[3:4] in (b"\x03", b"\x06"))
    return pgp_old or pgp_pass or pgp_new


def _zip_encrypted(data: bytes) -> bool:
    """The general purpose flag of any member says encrypted (bit 0) or masked (bit 13)."""
    at = 0
    while (at := data.find(b"PK\x03\x04", at)) >= 0 and at + 8 <= len(data):
        if struct.unpack_from("<H", data, at + 6)[0] & 0x2001:
            return True
        at += 4
    return False


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\r\n\t\f" for c in text)
