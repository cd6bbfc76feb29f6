"""Reading end to end, one fresh process for each reading: seconds by room, wall and CPU seconds, peak memory.

    python benchmarks/read.py [--rounds 3] [--kind KIND ...] [--json FILE]

Every kind of study is read with the small language model and with the deterministic writer alone, in turn, round after
round, each in a new home. Wall seconds are those of the whole process, from its start to its end: Python, imports,
loading the models, reading, keeping, pages. Peak memory is the process's own largest resident set, as the system counts
it. The middle round is held against the target. Then: seconds for each sentence with the language model's prompt-prefix
cache on and off, and ``attending --help`` against Python with typer alone. Pulls what it needs; ATTENDING_MIRROR names
a mirror for what cannot be reached. Under load by others compare the CPU seconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

WRITER = "smollm2-135m-instruct"
WRITERS = (WRITER, "none")
ROOMS = ("start", "loading", "intake", "deidentify", "tasks", "drafting", "checking", "exporting", "store", "end")
PNEUMONIA, TEACHING = "233604007", "pneumoniamnist"
PACKAGES = ("attending", "onnxruntime", "xllamacpp", "numpy", "scipy", "scikit-image", "pydicom", "typer")
GIB = 1024.0  # MiB
HELP_ROUNDS = 15
HELP_TARGET = 2.0
TYPER_ALONE = "import typer\napp = typer.Typer()\n@app.command()\ndef main(name: str) -> None: ...\napp()\n"


@dataclass(frozen=True)
class Kind:
    """One kind of study: the data set, the end of its file's name, and the issue's targets where it states any."""

    title: str
    data: str
    file: str
    models: tuple[str, ...] = ()
    seconds: float | None = None
    mib: float | None = None


KINDS = {
    "picture": Kind(
        "brain MR picture, no tumour", "brain-mr-slices", "Te-no_0022.jpg", ("detect-tumor",), 15, 1.5 * GIB
    ),
    "occlusion": Kind(
        "brain MR picture, tumour, occlusion map", "brain-mr-slices", "Te-gl_0015.jpg", ("detect-tumor",), 30, 1.5 * GIB
    ),
    "radiograph": Kind("chest radiograph, nothing admitted", "pydicom-data", "RG1_UNCR.dcm", (), 15, 1.5 * GIB),
    "head": Kind("chest picture 28x28, few-shot head", TEACHING, "", ("skimage-descriptors",), 15, 1.5 * GIB),
    "ct": Kind("CT, one slice", "pydicom-data", "693_UNCR.dcm"),
    "us": Kind("ultrasound, colour", "pydicom-data", "US1_UNCR.dcm"),
    "t1": Kind(
        "T1 head, 256^3 DICOM series, 18 classes", "head-t1", ".nii.gz", ("brainchop-model18cls",), 60, 3.2 * GIB
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated; all unless given")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--child", nargs=3, metavar=("KIND", "HOME", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, metavar=("KIND", "SCRATCH"), help=argparse.SUPPRESS)
    parser.add_argument("--prefix", choices=("on", "off"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child[0], Path(given.child[1]), Path(given.child[2]))))
        return
    if given.prepare:
        print(json.dumps({"path": str(prepared(given.prepare[0], Path(given.prepare[1])))}))
        return
    if given.prefix:
        print(json.dumps(prefix(given.prefix == "on")))
        return
    told: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg()}
    print(told["machine"], f"\nload of the last minute before: {told['load_before'][0]:.1f}\n")
    with tempfile.TemporaryDirectory(prefix="attending-read-") as scratch:
        told["kinds"] = kinds(given.kind or list(KINDS), given.rounds, Path(scratch))
    told["prefix"] = {way: fresh([sys.executable, __file__, "--prefix", way]) for way in ("off", "on")}
    for way, got in told["prefix"].items():
        if "error" in got:
            print(f"\nprompt-prefix cache {way}: not measured: {got['error']}")
            continue
        print(
            f"\nprompt-prefix cache {way}: {got['per_sentence']:.2f} s a sentence (middle of {got['sentences']}), "
            f"{got['prompt_read']:.0f} of {got['prompt']:.0f} prompt tokens read, {got['tokens']:.0f} written; "
            f"first sentence {got['first']:.2f} s, loading {got['loading']:.2f} s"
        )
    told["help"] = helped()
    told["load_after"] = os.getloadavg()
    times = told["help"]["attending"], told["help"]["typer"]
    passed = told["help"]["times"] <= HELP_TARGET
    print(
        f"\nattending --help {times[0]:.3f} s, Python with typer alone {times[1]:.3f} s: "
        f"{told['help']['times']:.2f} times, target {HELP_TARGET:g}: {'pass' if passed else 'MISS'}"
    )
    print(f"load of the last minute after: {told['load_after'][0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


# --- the parent


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((line.split(": ")[1] for line in info.read_text().splitlines() if "model name" in line), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.release()}"
    return f"{cpu}, {cores} cores, {memory:.0f} GiB; {system}; Python {platform.python_version()}; {versions}"


def kinds(wanted: list[str], rounds: int, scratch: Path) -> dict[str, Any]:
    # Prepared in processes of their own: the system counts a parent's memory at the fork as its child's own.
    paths: dict[str, str] = {}
    for name in wanted:
        ready = fresh([sys.executable, __file__, "--prepare", name, str(scratch)])
        if "error" in ready:
            print(f"{KINDS[name].title}: not measured: {ready['error']}\n")
        else:
            paths[name] = ready["path"]
    told: dict[str, Any] = {f"{name} {writer}": [] for name in paths for writer in WRITERS}
    for turn in range(rounds):
        for name, path in paths.items():
            for writer in WRITERS:
                home = scratch / f"home-{name}-{writer}-{turn}"
                if name == "head":
                    shutil.copytree(scratch / "home-head", home)
                home.mkdir(exist_ok=True)
                (home / "site.toml").write_text(f'schema = 1\n[models]\nwriter = "{writer}"\n')
                told[f"{name} {writer}"].append(fresh([sys.executable, __file__, "--child", name, str(home), path]))
                shutil.rmtree(home)
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    print("| study | writer | wall s (least) | CPU s | peak MiB | " + " | ".join(ROOMS) + " | target |")
    print("|" + "---|" * (6 + len(ROOMS)))
    for key, runs in told.items():
        name, _, writer = key.partition(" ")
        print(row(name, writer, runs))
    return told


def row(name: str, writer: str, runs: list[dict[str, Any]]) -> str:
    kind = KINDS[name]
    failed = next((r["error"] for r in runs if "error" in r), None)
    if failed:
        return f"| {kind.title} | {writer} | failed: {failed} |"
    wall, mib = median(r["wall"] for r in runs), max(r["peak_mib"] for r in runs)
    rooms = " | ".join(f"{median(r['rooms'].get(room, 0.0) for r in runs):.1f}" for room in ROOMS)
    target = "none stated"
    if kind.seconds is not None and kind.mib is not None:
        said = "pass" if wall <= kind.seconds and mib <= kind.mib else "MISS"
        target = f"{kind.seconds:g} s, {kind.mib / GIB:g} GiB: {said}"
    cpu = median(r["cpu"] for r in runs)
    least = min(r["wall"] for r in runs)
    return f"| {kind.title} | {writer} | {wall:.1f} ({least:.1f}) | {cpu:.1f} | {mib:.0f} | {rooms} | {target} |"


def prepared(name: str, scratch: Path) -> Path:
    """The kind's input, pulled and, where it must be, written."""
    from attending import models
    from attending.errors import ModelRefused
    from attending.site import cache_dir, mirror_dir

    kind = KINDS[name]
    try:
        for id in (*kind.models, kind.data, WRITER):
            models.pull(id, cache_dir(), mirror_dir())
        files = models.files(kind.data, cache_dir())
    except ModelRefused as refused:
        raise SystemExit(str(refused)) from None
    if name == "head":
        return taught(files, scratch)
    path = next(path for key, path in sorted(files.items()) if key.endswith(kind.file))
    if name != "t1":
        return path
    from attending.testing.dicom import write_series_from_nifti

    header = {"BodyPartExamined": "HEAD", "SeriesDescription": "T1"}
    write_series_from_nifti(path, scratch / "t1", modality="MR", header=header)
    return scratch / "t1"


def taught(files: dict[str, Path], scratch: Path) -> Path:
    """An image of the teaching set, and in scratch a home with an approved head that was trained on its labels."""
    from attending import Hospital

    with Hospital(scratch / "home-head") as hospital:
        (release,) = hospital.learn(task=PNEUMONIA, sources=(f"imported:{TEACHING}",))
        hospital.approve(release.id, "demo")
    return next(path for key, path in sorted(files.items()) if "test" in key and key.endswith(".png"))


def fresh(command: list[str]) -> dict[str, Any]:
    """What a new process printed, with its wall and CPU seconds and its peak memory as the system counts them."""
    began = time.time()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=os.environ | {"BEGAN": repr(began)})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended = time.time()
        out.seek(0)
        err.seek(0)
        lines = out.read().decode().splitlines()
        if process.returncode or not lines:
            return {"error": (err.read().decode().strip().splitlines() or ["it printed nothing"])[-1]}
    got: dict[str, Any] = json.loads(lines[-1])
    per_kib = 1024 if sys.platform != "darwin" else 1024 * 1024  # ru_maxrss: KiB on Linux, bytes on macOS
    figures = {"wall": ended - began, "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / per_kib}
    if "rooms" in got:
        got["rooms"]["end"] = ended - got.pop("done")
    return got | figures


def helped() -> dict[str, float]:
    """The middle of many starts, in turn, after one of each that nobody counts."""
    command = shutil.which("attending", path=str(Path(sys.executable).parent)) or "attending"
    ways: dict[str, list[str]] = {
        "attending": [command, "--help"],
        "typer": [sys.executable, "-c", TYPER_ALONE, "--help"],
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(HELP_ROUNDS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            subprocess.run(way, check=True, capture_output=True)
            took[name].append(time.perf_counter() - start)
    middle = {name: median(values[1:]) for name, values in took.items()}
    return middle | {"times": middle["attending"] / middle["typer"]}


# --- the reading process


def child(name: str, home: Path, path: Path) -> dict[str, Any]:
    """Read one study in this process: seconds by room, and what came of it."""
    rooms = {"start": time.time() - float(os.environ["BEGAN"])}
    mark = time.perf_counter()
    from attending import Hospital
    from attending.errors import Refusal

    times: dict[str, float] = {}

    def progress(what: str, fraction: float) -> None:
        times[what] = time.perf_counter()  # a step inside a room may bear a name of ours: the last one counts

    with Hospital(home) as hospital:
        _ = hospital.equipment
        loaded = time.perf_counter()
        (reading,) = hospital.read([path], progress=progress)
        if isinstance(reading, Refusal):
            raise SystemExit(f"refused: {reading.error}")
    rooms |= {"loading": loaded - mark, "intake": times["deidentify"] - loaded} | dict(reading.seconds)
    rooms |= {"exporting": times["store"] - times["exporting"], "store": times["done"] - times["store"]}
    return {
        "rooms": rooms,
        "findings": len(reading.findings),
        "worded": sum(s.producer.model is not None for s in reading.draft.sentences),
        "done": time.time(),
    }


def prefix(on: bool) -> dict[str, Any]:
    """Word a handful of facts with the prompt-prefix cache on or off."""
    from attending import drafting, models
    from attending.models.protocols import Written
    from attending.records import CaseFacts, Code, Finding, Findings, ImageFacts, Measurement
    from attending.site import cache_dir, load

    class Heard:
        """The writer, with what it wrote kept."""

        def __init__(self, writer: models.Writer) -> None:
            self.writer, self.card, self.wrote = writer, writer.card, list[Written]()
            self.close: Callable[[], None] = writer.close

        def write(self, messages: Any, **how: Any) -> Written:
            self.wrote.append(self.writer.write(messages, **how))
            return self.wrote[-1]

    names = ("Glioma", "Pneumonia", "Pleural effusion", "Pneumothorax", "Fracture of rib", "Cyst of kidney")
    size = Code("SCT", "81827009", "Diameter")
    found = tuple(
        Finding(
            f"f{n}", Code("SCT", str(n), name), "present", measurements=(Measurement(size, 7.5 + n, "mm", f"m{n}"),)
        )
        for n, name in enumerate(names, 1)
    )
    with tempfile.TemporaryDirectory() as folder:
        site = load(Path(folder))
        writer = models.load(WRITER, site, cache_dir())
        writer.prefix_cache = on
        start = time.perf_counter()
        writer.write([{"role": "user", "content": "Say yes."}], max_tokens=1)
        loading = time.perf_counter() - start
        heard = Heard(writer)
        image = ImageFacts("i1", (1, 8, 8), None, None, "MR")
        drafting.write(CaseFacts("c", "p", "picture", (image,)), Findings(found, ()), heard, site)
        heard.close()
    later = heard.wrote[1:]
    return {
        "loading": loading,
        "first": heard.wrote[0].seconds,
        "per_sentence": median(w.seconds for w in later),
        "sentences": len(later),
        "prompt": median(w.prompt_tokens for w in later),
        "prompt_read": median(w.prompt_tokens - w.cached_tokens for w in later),
        "tokens": median(w.tokens for w in later),
    }


if __name__ == "__main__":
    main()
