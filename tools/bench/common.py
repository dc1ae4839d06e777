"""What the Python sides of the benches share."""

import json
import os
import statistics
import time

THREADS = int(os.environ.get("BENCH_THREADS", "2"))


def number(start, stop):
    """Numbers in [0, 1) that look random: the same ones as `number` in benches/src/lib.rs."""
    import numpy as np

    with np.errstate(over="ignore"):
        x = (np.arange(start, stop, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def measure(run, seconds=2.0, least=3):
    """Median seconds of a call, after one that does not count."""
    run()
    times = []
    while len(times) < least or sum(times) < seconds:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def report(results):
    """Prints name -> seconds (and whatever else is known) as one line."""
    print(json.dumps(results), flush=True)
