"""The Python side of benches/train_step.rs: the same network, batch (WIDTH, BATCH) and loss, in f32 and by autocast in bf16."""

import os

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from common import THREADS, measure, report

WIDTH, BATCH = int(os.environ.get("WIDTH", "64")), int(os.environ.get("BATCH", "64"))


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


torch.set_num_threads(THREADS)
results = {}
for layout_name, layout in [("channels last", torch.channels_last), ("contiguous", torch.contiguous_format)]:
    for precision, bf16 in [("", False), (", bf16", True)]:
        model = resnet18(WIDTH).to(memory_format=layout)
        images = torch.rand(BATCH, 3, 32, 32).contiguous(memory_format=layout)

        def features():
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return model(images).float()

        def train():
            model.zero_grad(set_to_none=True)
            model.train()
            x = features()
            (x * x).mean().backward()

        def infer():
            model.eval()
            with torch.no_grad():
                features()

        results[f"train_step, PyTorch {layout_name}{precision}"] = measure(train, seconds=4)
        results[f"inference, PyTorch {layout_name}{precision}"] = measure(infer)
report(results)
