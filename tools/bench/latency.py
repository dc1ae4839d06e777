"""The Python side of benches/latency.rs: one picture of 640 x 480 pixels in Pillow and onnxruntime, with the same detectors.

    cargo bench --workspace --bench latency -- target/latency
    python tools/bench/latency.py target/latency
"""

import pathlib
import sys
import time

import numpy as np
import onnxruntime
from PIL import Image

from common import number

CALLS = 200
picture = Image.fromarray((number(0, 640 * 480 * 3) * 256).astype(np.uint8).reshape(480, 640, 3))

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    session = onnxruntime.InferenceSession(path)
    _, _, height, width = session.get_inputs()[0].shape

    def call():
        started = time.perf_counter()
        image = picture.resize((width, height), Image.Resampling.BILINEAR)
        images = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
        session.run(["label", "score", "p_value", "is_anomaly"], {"images": images})
        return 1e3 * (time.perf_counter() - started)

    for _ in range(10):
        call()
    times = [call() for _ in range(CALLS)]
    p50, p99 = np.percentile(times, [50, 99])
    print(f"{path.stem:28} p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  {CALLS} calls, onnxruntime {onnxruntime.__version__}")
