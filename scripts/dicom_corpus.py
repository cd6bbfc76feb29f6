"""Read every file of pydicom's own test files and of the data set pydicom-data, and write what came of each.

    python scripts/dicom_corpus.py [FOLDER_OF_PYDICOM_DATA] [--check]

writes docs/dicom-corpus.md and tests/cases/dicom_corpus.json (the declared outcomes that tests/test_intake_corpus.py
holds the code to); with --check it writes nothing and exits 1 where an outcome is not the declared one. Without a
folder, pydicom-data is taken from the cache of pulled data sets where it is there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DECLARED = ROOT / "tests" / "cases" / "dicom_corpus.json"
TABLE = ROOT / "docs" / "dicom-corpus.md"
HEAD = """# What comes of every file of pydicom and pydicom-data

Written by `python scripts/dicom_corpus.py`; do not edit. Each file is read alone, without a declared modality. An
outcome is either what was read (modality, view, shape as z, y, x, mm along x, y, z, what z is, notes) or the code and
words of the refusal. The same outcomes are declared in `tests/cases/dicom_corpus.json`, and a test holds the code to
them.
"""


def pydicom_files() -> list[tuple[str, Path]]:
    """(name, path) of every test file inside the pydicom package."""
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    return [(p.relative_to(folder).as_posix(), p) for p in sorted(folder.rglob("*")) if p.is_file()]


def data_files(folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of every DICOM file below a folder of pydicom-data."""
    return [(p.name, p) for p in sorted(folder.rglob("*.dcm")) if p.is_file()]


def outcome(path: Path) -> dict[str, Any]:
    """What comes of one file: {"images": [...], "given": [...]} or {"error": code, "message": words}."""
    from attending import intake

    opened = intake.open([path])
    if opened.refused:
        error = opened.refused[0].error
        return {"error": error.code, "message": str(error)}
    study = opened.studies[0]
    images = []
    for stack in study.stacks:
        facts = stack.image.facts
        images.append(
            {
                "modality": facts.modality,
                "view": facts.view,
                "shape": list(facts.shape),
                "dtype": str(stack.image.voxels.dtype),
                "spacing": None if facts.spacing is None else [round(s, 6) for s in facts.spacing],
                "placed": facts.affine is not None,
                "axis": facts.axis,
                "unit": facts.unit,
                "notes": list(facts.notes),
            }
        )
    return {"images": images, "given": list(study.given)}


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    if "error" in found:
        return f"| `{name}` | **{found['error']}**: {found['message']} |"
    parts = []
    for image in found["images"]:
        shape = " x ".join(map(str, image["shape"]))
        spacing = "no mm" if image["spacing"] is None else " x ".join(f"{s:g}" for s in image["spacing"]) + " mm"
        notes = "; ".join([*image["notes"], *found["given"]])
        view = f" {image['view']}" if image["view"] else ""
        axis = "" if image["axis"] == "space" else f", z is {image['axis']}"
        parts.append(
            f"{image['modality']}{view}, {shape} {image['dtype']}, {spacing}{axis}" + (f": {notes}" if notes else "")
        )
    return f"| `{name}` | {'<br>'.join(parts)} |"


def pulled() -> Path | None:
    """The folder of the pulled data set pydicom-data, or None."""
    from attending.errors import AttendingError

    try:
        from attending import models
        from attending.site import cache_dir

        return next(iter(models.files("pydicom-data", cache_dir()).values())).parent
    except (AttendingError, StopIteration):
        return None


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    folders = [Path(a) for a in arguments if not a.startswith("--")]
    folder = folders[0] if folders else pulled()
    found: dict[str, dict[str, Any]] = {"pydicom": {name: outcome(path) for name, path in pydicom_files()}}
    if folder is not None:
        found["pydicom-data"] = {name: outcome(path) for name, path in data_files(folder)}
    else:
        print("pydicom-data is not pulled: only pydicom's own files are read", file=sys.stderr)
    declared = json.loads(DECLARED.read_text()) if DECLARED.exists() else {}
    wrong = [
        f"{part}/{name}" for part in found for name, o in found[part].items() if declared.get(part, {}).get(name) != o
    ]
    total = sum(len(part) for part in found.values())
    refused = sum("error" in o for part in found.values() for o in part.values())
    print(f"{total} files: {total - refused} read, {refused} refused; {len(wrong)} other than declared")
    for name in wrong:
        print(f"  {name}")
    if check:
        return 1 if wrong else 0
    everything = {**declared, **found}
    DECLARED.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
    lines = [HEAD]
    for part, outcomes in sorted(everything.items()):
        errors = sum("error" in o for o in outcomes.values())
        lines.append(f"## {part}: {len(outcomes)} files, {len(outcomes) - errors} read, {errors} refused\n")
        lines.append("| file | what came of it |\n|---|---|")
        lines += [row(name, o) for name, o in sorted(outcomes.items())]
        lines.append("")
    TABLE.write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
