"""Judges pictures with an exported detector: prints label, score, p-value and decision of each file.

    pip install numpy onnxruntime pillow
    python tools/detect.py DIRECTORY PICTURES...

DIRECTORY is what `mcl export --hugging-face DIRECTORY` wrote; the file of `mcl export --onnx FILE` does as well.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path, width, height, centre_crop):
    # Upright, over white, stretched or cropped, as `mcl detect` does. What may differ: Pillow 13 and later may move a resized byte by one;
    # other decoders of JPEG and WebP move bytes, too; Pillow clips grey of 16 bits, and `mcl` scales such grey to 8 bits.
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if centre_crop == "none":
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    else:
        size = [int(centre_crop) * side // min(image.size) for side in image.size]
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255  # [3, height, width]


def main(detector, *pictures):
    detector = pathlib.Path(detector)
    session = onnxruntime.InferenceSession(detector / "model.onnx" if detector.is_dir() else detector)
    metadata = session.get_modelmeta().custom_metadata_map
    classes = json.loads(metadata["class_names"])
    _, _, height, width = session.get_inputs()[0].shape
    for picture in pictures:
        images = read(picture, width, height, metadata.get("centre_crop", "none"))[None]  # [1, 3, height, width]
        (label,), (score,), (p_value,), (is_anomaly,) = session.run(
            ["label", "score", "p_value", "is_anomaly"], {"images": images}
        )
        decision = "anomaly" if is_anomaly else "normal"
        print(f"{decision:8}p-value {p_value:.4f}  score {score:11.4f}  nearest to {classes[label]}  {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
