"""Exported detectors in onnxruntime, beside what Rust says of the same images.

    pip install numpy onnx onnxruntime
    cargo run --release --workspace --features burn-mcl/onnx --example export_detectors -- target/export
    python tools/check_export.py target/export

Each detector must pass ONNX's own checker with shapes inferred. Labels must be equal, and scores within 1e-4, relative. P-values
and decisions must be those of the scores, and equal to Rust's where no calibration score lies between the two scores. An image with
a value that is not finite must be an anomaly, and change nothing about the others.
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-4
OUTPUTS = ["label", "score", "p_value", "is_anomaly"]


def calibration(directory):
    """The scores of a saved detector's calibration.safetensors, which holds nothing else."""
    content = (directory / "calibration.safetensors").read_bytes()
    return np.frombuffer(content[8 + int.from_bytes(content[:8], "little") :], np.float64)


def check(directory):
    path = directory / "export" / "model.onnx"
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    expected = json.loads((directory / "detections.json").read_text())
    _, *shape = session.get_inputs()[0].shape
    images = np.fromfile(directory / "images.f32", np.float32).reshape(-1, *shape)

    def run(images):
        return dict(zip(OUTPUTS, session.run(OUTPUTS, {"images": images})))

    found = run(images)
    known = {name: np.array([detection[name] for detection in expected]) for name in OUTPUTS}
    assert np.array_equal(found["label"], known["label"]), (found["label"], known["label"])
    deviation = np.abs(found["score"] - known["score"]) / np.abs(known["score"])
    assert deviation.max() <= TOLERANCE, deviation
    ascending = calibration(directory / "export")
    threshold = float(session.get_modelmeta().custom_metadata_map["threshold"])
    rank, known_rank = (np.searchsorted(ascending, of["score"], "right") for of in (found, known))
    same = rank == known_rank
    assert np.allclose(found["p_value"], (1 + rank) / (1 + len(ascending)), rtol=1e-6), found
    assert np.array_equal(found["is_anomaly"], found["score"] < threshold), found
    for name in ("p_value", "is_anomaly"):
        assert np.allclose(found[name][same], known[name][same], rtol=1e-6), (name, found, known)
    alone = np.concatenate([run(image[None])["score"] for image in images])
    assert np.allclose(alone, found["score"], rtol=TOLERANCE), "images are not judged one by one"

    for value in (np.nan, np.inf, -np.inf):
        spoiled = images.copy()
        spoiled[3, 1, 2, 2] = value
        flagged = run(spoiled)
        assert flagged["is_anomaly"][3] and np.isnan(flagged["score"][3]), flagged
        assert flagged["p_value"][3] <= found["p_value"].min(), flagged
        rest = np.arange(len(images)) != 3
        assert np.allclose(flagged["score"][rest], found["score"][rest], rtol=TOLERANCE), flagged

    labels, anomalies = len(np.unique(found["label"])), int(found["is_anomaly"].sum())
    print(
        f"{directory.name:42} score {deviation.max():.1e}  {len(images)} images, {(~same).sum()} other ranks, "
        f"{labels} labels, {anomalies} anomalies"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, help="what the example export_detectors wrote")
    directories = sorted(path.parent for path in parser.parse_args().directory.glob("*/detections.json"))
    assert directories, "no detectors there"
    print(f"largest relative deviations, onnxruntime {onnxruntime.__version__}")
    for directory in directories:
        check(directory)


if __name__ == "__main__":
    main()
