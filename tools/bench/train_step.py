"""PyTorch's side of `cargo bench -p mcl-model --features flex --bench train_step`: the same network, batch and loss.

    pip install torch torchvision
    python tools/bench/train_step.py [width] [batch] [steps] [threads]
"""

import sys
import time

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


def resnet18(width):
    """torchvision's ResNet-18 with another width, a stem for small images and no classifier."""
    model = ResNet.__new__(ResNet)
    nn.Module.__init__(model)
    model._norm_layer, model.inplanes, model.dilation, model.groups, model.base_width = nn.BatchNorm2d, width, 1, 1, 64
    model.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
    model.bn1, model.relu, model.maxpool = nn.BatchNorm2d(width), nn.ReLU(), nn.Identity()
    for index in range(4):
        layer = model._make_layer(BasicBlock, width << index, 2, stride=1 if index == 0 else 2)
        setattr(model, f"layer{index + 1}", layer)
    model.avgpool, model.fc = nn.AdaptiveAvgPool2d(1), nn.Identity()
    return model


def best(steps, run):
    """The best of some runs, in seconds: wall, processor."""
    run()
    wall, processor = float("inf"), float("inf")
    for _ in range(steps):
        before = time.perf_counter(), time.process_time()
        run()
        wall = min(wall, time.perf_counter() - before[0])
        processor = min(processor, time.process_time() - before[1])
    return wall, processor


def main():
    width, batch, steps, threads = [int(n) for n in sys.argv[1:]] + [16, 256, 3, torch.get_num_threads()][len(sys.argv) - 1 :]
    torch.set_num_threads(threads)
    print(f"PyTorch {torch.__version__}, {threads} threads: ResNet-18, CIFAR stem, width {width}, batch {batch}, f32")
    for name, layout in [("channels last", torch.channels_last), ("contiguous", torch.contiguous_format)]:
        model = resnet18(width).to(memory_format=layout)
        images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=layout)

        def train():
            features = model.train()(images)
            (features * features).mean().backward()

        def infer():
            with torch.no_grad():
                model.eval()(images)

        for what, run in [("train", train), ("infer", infer)]:
            wall, processor = best(steps, run)
            line = f"{what}, PyTorch {name}"
            print(f"{line:32} {batch / wall:8.1f} images/s   {batch / processor:8.1f} images/s of one core", flush=True)


if __name__ == "__main__":
    main()
