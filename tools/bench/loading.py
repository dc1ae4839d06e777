"""The Python side of benches/loading.rs, which makes the files: BENCH_DATA is their folder.

torchvision's CIFAR-10 reads pickles, which are made here of the binary files; its check of the published hashes is left
out (in torchvision's favour). `ImageFolder` is read picture by picture, and by a DataLoader with 2 workers.
"""

import os
import pickle
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2

from common import THREADS, measure, report

root = Path(os.environ["BENCH_DATA"])
torch.set_num_threads(1)


class Unchecked(CIFAR10):
    """CIFAR-10 with other pictures in it."""

    def _check_integrity(self):
        return True

    def _load_meta(self):
        self.classes = [str(label) for label in range(10)]


def make_pickles():
    folder = root / CIFAR10.base_folder
    if folder.exists():
        return
    folder.mkdir()
    for file in range(1, 6):
        records = np.fromfile(root / f"cifar-10-batches-bin/data_batch_{file}.bin", np.uint8).reshape(-1, 3073)
        entry = {"data": records[:, 1:].copy(), "labels": records[:, 0].tolist()}
        (folder / f"data_batch_{file}").write_bytes(pickle.dumps(entry, protocol=2))


make_pickles()
results = {"load_cifar10, torchvision": measure(lambda: Unchecked(str(root), train=True))}


def binary():
    records = np.concatenate(
        [np.fromfile(root / f"cifar-10-batches-bin/data_batch_{file}.bin", np.uint8) for file in range(1, 6)]
    ).reshape(-1, 3073)
    return records[:, 0].astype(np.int64), np.ascontiguousarray(records[:, 1:])


results["load_cifar10, numpy on the binary files"] = measure(binary)
transform = v2.Compose([v2.Resize((32, 32)), v2.PILToTensor()])
for name in ("png-32", "png-256", "jpeg-256"):
    pictures = ImageFolder(str(root / name), transform)
    bench = f"decode_{name.replace('-', '_')}"
    results[f"{bench}, ImageFolder"] = measure(lambda: torch.stack([image for image, _ in pictures]))
    loader = torch.utils.data.DataLoader(pictures, batch_size=50, num_workers=THREADS)
    results[f"{bench}, ImageFolder, {THREADS} workers"] = measure(lambda: torch.cat([images for images, _ in loader]))
report(results)
