"""PyTorch's side of `examples/throughput.rs`: the same networks, loss, views and precisions, eager and compiled.

    python tools/gpu/throughput.py --depth 18 --dtype bf16
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
from loss import GOLDEN, check, vectorised as mcl  # MCL with the exact expectation of SPA

BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}


class Network(nn.Module):
    """torchvision's ResNet with a stem for small images, and a projection head of two layers."""

    def __init__(self, depth, width):
        super().__init__()
        encoder = ResNet.__new__(ResNet)
        nn.Module.__init__(encoder)
        encoder._norm_layer, encoder.inplanes, encoder.dilation = nn.BatchNorm2d, width, 1
        encoder.groups, encoder.base_width = 1, 64
        encoder.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        encoder.bn1, encoder.relu, encoder.maxpool = nn.BatchNorm2d(width), nn.ReLU(), nn.Identity()
        for index, blocks in enumerate(BLOCKS[depth]):
            layer = encoder._make_layer(BasicBlock, width << index, blocks, stride=1 if index == 0 else 2)
            setattr(encoder, f"layer{index + 1}", layer)
        encoder.avgpool, encoder.fc = nn.AdaptiveAvgPool2d(1), nn.Identity()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(8 * width, 2048), nn.ReLU(), nn.Linear(2048, 128))

    def forward(self, images):
        return self.projector(self.encoder(images))


def timed(device, steps, step):
    """Median of three rounds, in seconds a step; and the time of the first two steps."""

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    started = time.perf_counter()
    for _ in range(2):
        step()
        wait()
    warm_up = time.perf_counter() - started
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        rounds.append((time.perf_counter() - started) / steps)
    return statistics.median(rounds), warm_up


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, choices=[18, 34], default=18)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--views", type=int, default=2048)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--matrix", type=int, default=8192)
    parser.add_argument("--modes", default="eager,compiled")
    options = parser.parse_args()
    check(GOLDEN)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if options.dtype == "f32" else torch.bfloat16
    # Burn computes f32 products as TF32 on tensor cores: so here.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True

    def report(what, mode, seconds, warm_up):
        line = {
            "what": what,
            "mode": mode,
            "dtype": options.dtype,
            "views": options.views,
            "milliseconds": seconds * 1e3,
            "views_per_second": options.views / seconds,
            "warm_up_seconds": warm_up,
        }
        print(json.dumps(line), flush=True)

    n = options.matrix
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds, _ = timed(device, options.steps, lambda: a @ b)
    print(json.dumps({"what": "matrix product", "size": n, "dtype": options.dtype, "tflops": 2 * n**3 / seconds / 1e12}))

    images = torch.rand(options.views, 3, 32, 32, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    samples = torch.arange(options.views // 2, device=device)
    classes, rotations = samples // 4 % 10, samples % 4
    for mode in options.modes.split(","):
        model = Network(options.depth, options.width).to(device, dtype, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
        forward, loss = (torch.compile(model), torch.compile(mcl)) if mode == "compiled" else (model, mcl)

        def infer():
            with torch.no_grad():
                forward(images)

        def train():
            optimizer.zero_grad(set_to_none=True)
            loss(forward(images).float(), classes, rotations).backward()
            optimizer.step()

        model.eval()
        report("inference", mode, *timed(device, options.steps, infer))
        model.train()
        report("training step", mode, *timed(device, options.steps, train))


if __name__ == "__main__":
    main()
