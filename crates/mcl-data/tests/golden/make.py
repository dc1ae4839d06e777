#!/usr/bin/env python3
"""Make resize.json and fix.json: what Pillow's BILINEAR and torchvision's transforms make of a pseudo-random picture.

    pip install "pillow<13" numpy torchvision

Pillow 13 resizes the columns first where that is cheaper, which moves some bytes by one."""
import json
import pathlib

import numpy as np
from PIL import Image


def noise(height, width):
    state, out = 1, []
    for _ in range(height * width * 3):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(state >> 24)
    return np.array(out, np.uint8).reshape(height, width, 3)


CASES = [((40, 28), (32, 32)), ((256, 256), (32, 32)), ((13, 50), (32, 32)), ((1, 1), (3, 4)),
         ((300, 7), (16, 16)), ((5, 64), (5, 9)), ((64, 5), (9, 5)), ((33, 31), (32, 32))]
cases = [{"from": a, "to": b, "pixels": np.asarray(
    Image.fromarray(noise(*a)).resize(b[::-1], Image.Resampling.BILINEAR)).ravel().tolist()} for a, b in CASES]
pathlib.Path(__file__).with_name("resize.json").write_text(json.dumps(cases, separators=(",", ":")))

from torchvision.transforms import CenterCrop, Compose, Resize

recipe = Compose([Resize(256), CenterCrop(256), Resize((32, 32))])
cases = [{"from": a, "pixels": np.asarray(recipe(Image.fromarray(noise(*a)))).ravel().tolist()}
         for a in [(300, 421), (513, 300), (256, 259), (90, 120)]]
pathlib.Path(__file__).with_name("fix.json").write_text(json.dumps(cases, separators=(",", ":")))
