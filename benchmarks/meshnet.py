"""Whole-volume MeshNet: attending's forward and ONNX Runtime's plain graph against torch, then the head's box.

    python benchmarks/meshnet.py [--torch-python PYTHON] [--rounds 3] [--model brainchop-model18cls] [--json FILE]

Each contender runs in a process of its own, with the same weights, volume and number of threads; all are warmed on a
part of the volume, then run in turn, round after round. Printed per contender: least and middle wall seconds, CPU
seconds, peak resident memory, and how many voxels get the same label as from torch (or from the plain graph where torch
is not installed). Under load by others compare the CPU seconds. Needs the model pulled and ATTENDING_MIRROR for the T1.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CONTENDERS = ("torch", "onnxruntime", "attending")
WARM = 48  # voxels on a side: enough to create every kernel
PLANES = 8  # of the classifier at once, for every contender: nobody holds 18 scores of the whole volume
MARGINS = (0, 4, 8, 16, 46)


def run_torch(layers: list[Any], volume: Any, threads: int) -> Any:
    import torch
    from torch.nn import functional as f

    torch.set_num_threads(threads)
    with torch.inference_mode():
        flow = torch.from_numpy(volume)[None, None]
        *body, last = [(torch.from_numpy(k), torch.from_numpy(b), d, a) for k, b, d, a in layers]
        for kernel, bias, dilation, activation in body:
            flow = f.conv3d(flow, kernel, bias, padding=dilation * (kernel.shape[-1] // 2), dilation=dilation)
            flow = {"elu": f.elu_, "relu": f.relu_}[activation](flow)
        parts = [f.conv3d(p, last[0], last[1]).argmax(1).to(torch.uint8) for p in flow.split(PLANES, dim=2)]
        return torch.cat(parts, dim=1)[0].numpy()


def run_onnxruntime(layers: list[Any], volume: Any, threads: int) -> Any:
    """The plain graph: what a user of ONNX Runtime gets without any of our own code."""
    import onnxruntime as ort

    from attending.models.meshnet_onnx import build

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False
    flow = ort.InferenceSession(build(tuple(layers[:-1])), options).run(None, {"volume": volume[None, None]})[0]
    head = ort.InferenceSession(build(tuple(layers[-1:]), labels=True), options)
    starts = range(0, volume.shape[0], PLANES)
    return np.concatenate([head.run(None, {"volume": flow[:, :, z : z + PLANES].copy()})[0][0] for z in starts])


def run_attending(layers: list[Any], volume: Any, threads: int) -> Any:
    from attending.models.meshnet_run import predict

    return predict(tuple(layers), volume, threads)


def serve(contender: str, folder: Path, threads: int) -> None:
    """The contender's process: warm up, then one run per line on stdin, one JSON line per run on stdout."""
    import resource

    raw = pickle.loads((folder / "layers.pickle").read_bytes())  # noqa: S301 (written by this program just now)
    if contender == "torch":
        layers: list[Any] = raw
    else:
        from attending.models.meshnet_onnx import Layer

        layers = [Layer("", k, b, d, False, a) for k, b, d, a in raw]
    run = {"torch": run_torch, "onnxruntime": run_onnxruntime, "attending": run_attending}[contender]
    volume = np.load(folder / "volume.npy")
    run(layers, np.ascontiguousarray(volume[:WARM, :WARM, :WARM]), threads)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        labels = run(layers, volume, threads)
        figures = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        np.save(folder / f"{contender}.npy", labels)
        figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(figures | {"round": line.strip()}), flush=True)


def gemm_gflops(threads: int) -> float:
    """What the machine's best multiplication gives: 1536 x 1536 by ONNX Runtime, the best of ten."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    side = 1536
    b = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [side, side]) for n in "ac"]
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "g", info[:1], info[1:], [numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    best = min(_timed(lambda: session.run(None, {"a": b})) for _ in range(10))
    return 2 * side**3 / best / 1e9


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def dice(a: Any, b: Any, value: int) -> float:
    one, other = a == value, b == value
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--torch-python", default=sys.executable, help="a Python that has torch and numpy")
    ask.add_argument("--model", default="brainchop-model18cls")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--json", type=Path)
    ask.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    ask.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.serve:
        serve(given.serve, given.folder, given.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(given, Path(folder))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import nibabel as nib

    from attending import models, site
    from attending.models import Card, Setup
    from attending.models.meshnet import MeshNet, head_box, largest_component, normalise, widen

    models.pull(given.model, site.cache_dir(), site.mirror_dir())
    card = Card(given.model, "1", given.model, ("Segmenter",), "onnxruntime", "MIT")
    model = MeshNet(Setup(given.model, card, models.files(given.model, site.cache_dir()), given.threads))
    t1 = Path(os.environ["ATTENDING_MIRROR"]) / "data/brain_t1/t1_crop.nii.gz"
    conformed = np.ascontiguousarray(np.asanyarray(nib.load(t1).dataobj).T)
    layers = model.layers
    flops = sum(2 * layer.kernel.size for layer in layers) * conformed.size
    peak = gemm_gflops(given.threads)
    versions = f"Python {platform.python_version()}, {given.threads} threads, load {os.getloadavg()[0]:.1f}"
    print(f"{_processor()}, {os.cpu_count()} CPUs, {versions}")
    shape = "x".join(map(str, conformed.shape))
    print(
        f"{given.model}, {shape}: {flops / 1e12:.2f} TFLOP; the machine's best matrix multiplication gives {peak:.0f}"
    )
    print(f"GFLOP/s, so that a direct convolution cannot take less than {flops / peak / 1e9:.1f} s")

    with (folder / "layers.pickle").open("wb") as out:
        pickle.dump([(layer.kernel, layer.bias, layer.dilation, layer.activation) for layer in layers], out)
    np.save(folder / "volume.npy", normalise(conformed, model._recipe))
    workers: dict[str, subprocess.Popen[str]] = {}
    for name in CONTENDERS:
        python = given.torch_python if name == "torch" else sys.executable
        command = [python, __file__, "--serve", name, "--folder", str(folder), "--threads", str(given.threads)]
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert worker.stdout
        if worker.stdout.readline():
            workers[name] = worker
        else:
            reason = (worker.communicate()[1].strip().splitlines() or ["no reason given"])[-1]
            print(f"{name} is left out: {reason}; install the bench extra, or name a Python that has it")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for number in range(given.rounds):
        for name, worker in workers.items():
            assert worker.stdin
            assert worker.stdout
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
            runs[name].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    reference = next(iter(workers))
    truth = np.load(folder / f"{reference}.npy")
    columns = f"{'wall s':>8}{'median':>8}{'CPU s':>8}{'MiB':>7}{'x ' + reference:>17}{'same labels':>14}"
    print(f"\n{'whole volume':<14}{columns}")
    table: dict[str, Any] = {}
    for name, rounds in runs.items():
        wall, cpu = min(r["wall"] for r in rounds), min(r["cpu"] for r in rounds)
        first = min(r["wall"] for r in runs[reference])
        same = float((np.load(folder / f"{name}.npy") == truth).mean())
        row = {
            "wall": wall,
            "median": median(r["wall"] for r in rounds),
            "cpu": cpu,
            "peak_mib": rounds[-1]["peak_mib"],
            "ratio": first / wall,
            "cpu_ratio": min(r["cpu"] for r in runs[reference]) / cpu,
            "same": same,
        }
        table[name] = row
        ratios = f"{row['ratio']:.2f} ({row['cpu_ratio']:.2f} CPU)"
        print(
            f"{name:<14}{wall:8.1f}{row['median']:8.1f}{cpu:8.1f}{row['peak_mib']:7.0f}{ratios:>17}{100 * same:13.4f}%"
        )

    whole, _ = largest_component(np.load(folder / "attending.npy"))
    tight = head_box(conformed)
    boxes = []
    print(f"\n{'head box':<14}{'voxels':>8}{'wall s':>8}{'CPU s':>8}{'mean Dice':>11}{'least Dice':>12}  of")
    for margin in MARGINS:
        box = widen(tight, margin, conformed.shape)
        start, cpu = time.perf_counter(), time.process_time()
        labels, _ = largest_component(model.predict(conformed, box))
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        scores = {name: dice(labels, whole, value) for value, name in enumerate(model.labels) if value}
        worst = min(scores, key=lambda name: scores[name])
        share = np.prod([s.stop - s.start for s in box]) / conformed.size
        mean = float(np.mean(list(scores.values())))
        boxes.append(
            {"margin": margin, "share": float(share), "wall": wall, "cpu": cpu, "mean": mean, "least": scores[worst]}
        )
        print(
            f"margin {margin:<7}{100 * share:7.0f}%{wall:8.1f}{cpu:8.1f}{mean:11.4f}{scores[worst]:12.4f}  {worst}",
            flush=True,
        )
    return {"flops": flops, "gemm_gflops": peak, "whole": table, "box": boxes}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
