"""`import attending` and `attending --help` load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "pydicom", "torch", "transformers", "onnxruntime", "onnx", "xllamacpp", "sklearn", "skimage", "scipy",
         "SimpleITK", "highdicom", "nibabel", "PIL", "sqlalchemy", "pydantic", "cryptography", "fhir")  # fmt: skip


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('LOADED', *sorted({{m.split('.')[0] for m in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.rsplit("LOADED", 1)[1].split())


def test_import_attending_loads_nothing_heavy() -> None:
    assert not loaded_by("import attending") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "import attending.cli\ntry:\n    attending.cli.app(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(code) & set(HEAVY)


def test_the_models_room_lists_without_engines() -> None:
    engines = {"torch", "transformers", "onnxruntime", "xllamacpp", "sklearn"}
    assert not loaded_by("import attending.models as m; m.catalog()") & engines
