"""Makes the whole table of docs/performance.md: this library beside PyTorch, torchvision, scikit-learn and numpy.

    pip install -r tools/bench/requirements.txt
    python tools/bench/table.py [scoring metrics augment loading train_step loss ...] [--rounds 2]

The two sides of a bench run by turns (A B A B); the figures are the medians of the rounds. Every figure but a ratio
depends on the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent.parent

# What stands in a row: (what, bench, its function here, the other side, target ratio, items in one run and their unit).
VIEWS = 512
ROWS = [
    ("scoring, 10,000 x 8 x 10", "scoring", "scoring/here", "numpy loop", 100),
    ("scoring, 10,000 x 8 x 10", "scoring", "scoring/here", "torch, one product", 1),
    ("scoring, 10,000 x 8 x 10", "scoring", "scoring/here", "torch, centred", 1),
    ("40 Gaussians of 400,000 x 128", "metrics", "fit/here", "fit", 1),
    ("AUROC, 10^7 scores", "metrics", "auroc/here", "auroc", 3),
    ("FPR@95TPR, 10^7 scores", "metrics", "fpr95/here", "fpr95", 3),
    ("average precision, 10^7 scores", "metrics", "average_precision/here", "average_precision", 3),
    ("a SimCLR view, one core", "augment", "augment/here", "torchvision v1, PIL", 10),
    ("a SimCLR view, one core", "augment", "augment/here", "torchvision v2, PIL", 10),
    ("a SimCLR view, one core", "augment", "augment/here", "torchvision v2, tensor", 10),
    ("a SimCLR view, one core", "augment", "augment/here", "kornia, batch of 512", 10),
    ("loading CIFAR-10, 50,000 images", "loading", "load_cifar10/here", "load_cifar10, torchvision", 2),
    (
        "loading CIFAR-10, 50,000 images",
        "loading",
        "load_cifar10/here",
        "load_cifar10, numpy on the binary files",
        None,
    ),
    *(
        (f"{pictures} to 32 x 32", "loading", f"{bench}/here", f"{bench}, {reader}", 2)
        for pictures, bench in [
            ("2,000 PNGs of 32 x 32", "decode_png_32"),
            ("200 PNGs of 256 x 256", "decode_png_256"),
            ("200 JPEGs of 256 x 256", "decode_jpeg_256"),
        ]
        for reader in ["ImageFolder", "ImageFolder, 2 workers"]
    ),
    *(
        (f"MCL loss and gradient, {views} views x 128", "loss", f"loss/{views}/here", f"loss/{views}, {side}", target)
        for views, targets in [(512, (None, None)), (2048, (5, 2)), (8192, (None, None))]
        for side, target in zip(["released", "vectorised"], targets)
    ),
    *(
        (f"{what}, ResNet-18{precision}", "train_step", f"{step}/here{precision}", f"{step}, PyTorch {layout}{precision}", 1)
        for what, step in [("training step", "train_step"), ("inference", "inference")]
        for precision in ["", ", bf16"]
        for layout in ["channels last", "contiguous"]
    ),
]
# Seconds of one run to seconds of what the row is about.
SCALE = {"augment/here": 1 / VIEWS, "augment/2-threads": 1 / VIEWS}


def rust_side(bench, environment):
    """Median seconds of the functions of a bench that have no counterpart in `naive`, as criterion measured them."""
    with tempfile.TemporaryDirectory() as home:
        command = ["cargo", "bench", "--workspace", "--bench", bench, "--", "here|threads"]
        environment = environment | {"CRITERION_HOME": home}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        results = {}
        for path in Path(home).glob("*/*/new/benchmark.json"):
            name = json.loads(path.read_text())["full_id"]
            estimates = json.loads((path.parent / "estimates.json").read_text())
            results[name] = estimates["median"]["point_estimate"] * 1e-9 * SCALE.get(name, 1)
    lines = (line.split() for line in done.stdout.splitlines() if line.startswith("value "))
    return results | {"values": {name: float(value) for _, name, value in lines}}


def python_side(bench, environment):
    done = subprocess.run(
        [sys.executable, str(TOOLS / f"{bench}.py")], env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        print(f"tools/bench/{bench}.py failed: its rows are left out", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def medians(rounds):
    names = {name for results in rounds for name in results if name != "values"}
    return {name: statistics.median(results[name] for results in rounds if name in results) for name in names}


def show(seconds):
    for unit, size in [("s", 1), ("ms", 1e-3)]:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def main():
    parser = argparse.ArgumentParser()
    benches = sorted({row[1] for row in ROWS}, key=[row[1] for row in ROWS].index)
    parser.add_argument("benches", nargs="*", default=benches, help="some of: " + " ".join(benches))
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as data:
        environment = {"BENCH_DATA": data, "BENCH_THREADS": "2", "RAYON_NUM_THREADS": "2"} | os.environ
        here, there, remarks = {}, {}, []
        for bench in arguments.benches:
            sides = []
            for turn in range(arguments.rounds):
                print(f"{bench}: round {turn + 1} of {arguments.rounds}", file=sys.stderr)
                sides.append((rust_side(bench, environment), python_side(bench, environment)))
            here |= medians([side[0] for side in sides])
            there[bench] = medians([side[1] for side in sides])
            for name, value in sides[0][0]["values"].items():
                other = sides[0][1].get("values", {}).get(name)
                if other is not None:
                    remarks.append(f"{name}: {value!r} here, {other!r} there")

    print("| what | here | beside it | | ratio | target |\n|---|---|---|---|---|---|")
    for what, bench, function, other, target in ROWS:
        if bench not in arguments.benches:
            continue
        if function not in here or other not in there[bench]:
            remarks.append(f"not measured: {what} beside {other}")
            continue
        ratio = there[bench][other] / here[function]
        wanted = "" if target is None else f">= {target}" + (" (missed)" if ratio < target else "")
        print(f"| {what} | {show(here[function])} | {other} | {show(there[bench][other])} | {ratio:.2f} | {wanted} |")
    if "augment/2-threads" in here:
        one, two = 1 / here["augment/here"], 1 / here["augment/2-threads"]
        remarks.append(f"views per second: {one:,.0f} on one thread, {two:,.0f} on two ({two / one:.2f} times)")
    print("", *remarks, sep="\n")


if __name__ == "__main__":
    main()
