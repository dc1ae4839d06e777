"""Weights between this library and PyTorch, in both directions.

    pip install torch safetensors numpy
    cargo run --release -p mcl-model --example export_weights -- target/weights
    python tools/check_weights.py check target/weights
    python tools/check_weights.py golden crates/mcl-model/tests/golden
    python tools/check_weights.py gradients crates/mcl-model/tests/golden

`check` takes what the example wrote for each network (config.json, weights.safetensors, outputs.safetensors), builds
the same network in PyTorch, loads the weights with strict=True and compares its outputs. Where torchvision is
installed, names and shapes of the reference network are compared with torchvision's own as well.

`golden` writes the smallest network that the tests of mcl-model load (resnet34-w2-imagenet: weights as DataParallel
saves them, outputs in evaluation and in training mode, a running statistic after one step), a small ResNet-50 for its
gradients and two small FastNets, then does what `gradients` does. `fastnets` writes the FastNets alone.

`gradients` writes the gradients of all networks there, in float64, as two numbers for each parameter: the norm, and the
probe, the sum of gradient[i] * cos(i) over the flattened gradient, which sees the sign and the order of the values.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

TOLERANCE = 1e-4


def conv(channels_in, channels_out, kernel, stride=1):
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)


def downsample(channels_in, channels_out, stride):
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(conv(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, channels_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels_in, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = downsample(channels_in, width, stride)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels_in, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = downsample(channels_in, 4 * width, stride)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


DEPTHS = {
    "ResNet18": (BasicBlock, [2, 2, 2, 2]),
    "ResNet34": (BasicBlock, [3, 4, 6, 3]),
    "ResNet50": (Bottleneck, [3, 4, 6, 3]),
}


class Encoder(nn.Module):
    def __init__(self, depth, stem, width, in_channels):
        super().__init__()
        block, counts = DEPTHS[depth]
        self.imagenet = stem == "ImageNet"
        self.conv1 = conv(in_channels, width, 7, 2) if self.imagenet else conv(in_channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for index, count in enumerate(counts):
            blocks = []
            for number in range(count):
                stride = 2 if number == 0 and index > 0 else 1
                blocks.append(block(channels, width << index, stride))
                channels = (width << index) * block.expansion
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.dim = channels

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.imagenet:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class Group(nn.Module):
    """A group of a FastNet. The scales of its batch norms are not trained."""

    def __init__(self, channels_in, channels_out, residual):
        super().__init__()
        self.residual = residual
        for number in range(1, 4 if residual else 3):
            setattr(self, f"conv{number}", conv(channels_in if number == 1 else channels_out, channels_out, 3))
            norm = nn.BatchNorm2d(channels_out, momentum=0.2)
            norm.weight.requires_grad = False
            setattr(self, f"norm{number}", norm)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        y = F.gelu(self.norm2(self.conv2(x)))
        return F.gelu(self.norm3(self.conv3(y)) + x) if self.residual else y


class FastNet(nn.Module):
    def __init__(self, widths, in_channels, residual):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8 * in_channels, 2)
        self.stem.weight.requires_grad = False
        channels = [8 * in_channels, *widths]
        self.groups = nn.Sequential(*(Group(a, b, residual) for a, b in zip(channels, widths)))
        self.dim = widths[-1]

    def forward(self, x):
        return self.groups(F.gelu(self.stem(x))).amax(dim=(2, 3))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        encoder = config["encoder"]
        self.enc = FastNet(**encoder) if "widths" in encoder else Encoder(**encoder)
        self.projector = nn.Sequential(
            nn.Linear(self.enc.dim, config["hidden"]), nn.ReLU(), nn.Linear(config["hidden"], config["projection_dim"])
        )

        if config.get("classifier"):
            self.classifier = nn.Linear(self.enc.dim, config["classifier"], bias=False)

    def forward(self, x):
        features = self.enc(x)
        return features, self.projector(features)

    def loss(self, features, projections):
        """What the gradients are of: the mean square of the projections, and of the logits."""
        loss = (projections**2).mean()
        return loss + (self.classifier(features) ** 2).mean() if hasattr(self, "classifier") else loss


def same_names_as_torchvision(config, model):
    """Whether torchvision's network has the same names and shapes; None where there is nothing to compare."""
    try:
        from torchvision import models
    except ImportError:
        return None
    resnet = config["encoder"]
    if "widths" in resnet or resnet["width"] != 64 or resnet["stem"] != "ImageNet" or resnet["in_channels"] != 3:
        return None
    theirs = getattr(models, resnet["depth"].lower())(weights=None).state_dict()
    theirs = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    return theirs == {name: value.shape for name, value in model.enc.state_dict().items()}


def check(directory):
    failed = False
    print(f"PyTorch {torch.__version__}")
    for path in sorted(pathlib.Path(directory).glob("*/config.json")):
        config = json.loads(path.read_text())
        model = Model(config).eval()
        weights = load_file(path.with_name("weights.safetensors"))
        model.load_state_dict(weights, strict=True)
        outputs = load_file(path.with_name("outputs.safetensors"))
        with torch.no_grad():
            features, projections = model(outputs["images"])
        line = f"{path.parent.name}: {len(weights)} tensors, strict=True"
        for name, found in [("features", features), ("projections", projections)]:
            error = (found - outputs[name]).abs().max().item()
            line += f", {name} max |difference| {error:.1e} (largest value {found.abs().max().item():.2g})"
            failed |= not error <= TOLERANCE
        same = same_names_as_torchvision(config, model)
        if same is not None:
            line += f", torchvision's names and shapes: {'equal' if same else 'DIFFERENT'}"
            failed |= not same
        print(line)
    print("FAILED" if failed else f"all within {TOLERANCE}")
    return int(failed)


def training_step(model, images):
    """Projections in training mode, and norm and probe of each gradient of their mean square, in float64."""
    model = model.double().train()
    features, projections = model(images.double())
    model.loss(features, projections).backward()
    gradients = {}
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        flat = value.grad.flatten()
        probe = torch.dot(flat, torch.cos(torch.arange(flat.numel(), dtype=torch.float64)))
        gradients[name] = {"norm": flat.norm().item(), "probe": probe.item()}
    return projections.detach(), gradients


# Each network with its settings and where its state dict is.
NETWORKS = {
    "resnet18-w8": ("ResNet18", "Cifar", 8, 3, 32, 16),
    "resnet50-w8": ("ResNet50", "Cifar", 8, 3, 32, 16),
    "resnet50-w4": ("ResNet50", "Cifar", 4, 3, 32, 16),
    "resnet34-w2-imagenet": ("ResNet34", "ImageNet", 2, 1, 8, 4),
}
FASTNETS = {
    "fastnet-w8": {
        "encoder": {"widths": [8, 12, 16], "in_channels": 3, "residual": False},
        "hidden": 16,
        "projection_dim": 8,
        "classifier": 6,
    },
    "fastnet-w4-residual": {
        "encoder": {"widths": [4, 6, 8], "in_channels": 1, "residual": True},
        "hidden": 8,
        "projection_dim": 4,
    },
}


def configs():
    for name, (depth, stem, width, in_channels, hidden, projection_dim) in NETWORKS.items():
        resnet = {"depth": depth, "stem": stem, "width": width, "in_channels": in_channels}
        yield name, {"encoder": resnet, "hidden": hidden, "projection_dim": projection_dim}
    yield from FASTNETS.items()


def state_dict(directory, name):
    if (directory / f"{name}.safetensors").exists():
        return load_file(directory / f"{name}.safetensors")
    state = torch.load(directory / f"{name}.pt", weights_only=True)
    return {key.removeprefix("module."): value for key, value in state.get("net", state).items()}


def gradients(directory):
    directory = pathlib.Path(directory)
    for name, config in configs():
        model = Model(config)
        model.load_state_dict(state_dict(directory, name), strict=True)
        _, found = training_step(model, load_file(directory / f"{name}.golden.safetensors")["train_images"])
        (directory / f"{name}.gradients.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


def fastnets(directory):
    """Weights and outputs of small FastNets: one as torch.save writes it, one as safetensors."""
    directory = pathlib.Path(directory)
    for name, config in FASTNETS.items():
        torch.manual_seed(0)
        model = Model(config)
        for parameter, value in model.named_parameters():
            if ".norm" in parameter:
                nn.init.uniform_(value, *((0.8, 1.2) if parameter.endswith("weight") else (-0.2, 0.5)))
        channels = config["encoder"]["in_channels"]
        for _ in range(3):
            model(torch.rand(8, channels, 32, 32))
        images = torch.rand(3, channels, 33, 31)
        # Another maximum of four pixels gives another gradient. Of 400 seeds for the images, these leave the largest pixel
        # furthest from the second.
        torch.manual_seed({"fastnet-w8": 44, "fastnet-w4-residual": 46}[name])
        train_images = torch.rand(6, channels, 12, 12)
        if config["encoder"]["residual"]:
            save_file(model.state_dict(), directory / f"{name}.safetensors")
        else:
            torch.save(model.state_dict(), directory / f"{name}.pt")
        with torch.no_grad():
            features, projections = model.eval()(images)
            tensors = {"images": images, "features": features, "projections": projections}
            if "classifier" in config:
                tensors["logits"] = model.classifier(features)
        train_projections, _ = training_step(model, train_images)
        tensors |= {"train_images": train_images, "train_projections": train_projections.float()}
        tensors["train_running_mean"] = model.enc.groups[0].norm1.running_mean.float()
        save_file(tensors, directory / f"{name}.golden.safetensors")
    return gradients(directory)


def golden(directory):
    directory = pathlib.Path(directory)
    torch.manual_seed(0)
    name = "resnet34-w2-imagenet"
    resnet = {"depth": "ResNet34", "stem": "ImageNet", "width": 2, "in_channels": 1}
    model = Model({"encoder": resnet, "hidden": 8, "projection_dim": 4})
    for parameter, value in model.named_parameters():
        if ".bn" in parameter or ".downsample.1" in parameter:
            nn.init.uniform_(value, -0.2, 1.0)
    for _ in range(3):
        model(torch.rand(8, 1, 96, 64))
    images, train_images = torch.rand(3, 1, 65, 33), torch.rand(4, 1, 96, 64)

    # No key above the state dict, and the prefix that DataParallel adds.
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, directory / f"{name}.pt")
    with torch.no_grad():
        features, projections = model.eval()(images)
    train_projections, _ = training_step(model, train_images)
    tensors = {
        "images": images,
        "features": features,
        "projections": projections,
        "train_images": train_images,
        "train_projections": train_projections.float(),
        "train_running_mean": model.enc.bn1.running_mean.float(),
    }
    save_file(tensors, directory / f"{name}.golden.safetensors")

    # A ResNet-50 whose gradients can be compared in f32. One activation on the other side of zero moves a norm by up to
    # some per cent: of 400 seeds for the images, this one leaves all activations furthest from zero, 8e-5.
    name = "resnet50-w4"
    torch.manual_seed(0)
    resnet = {"depth": "ResNet50", "stem": "Cifar", "width": 4, "in_channels": 3}
    model = Model({"encoder": resnet, "hidden": 32, "projection_dim": 16})
    for parameter, value in model.named_parameters():
        if ".bn" in parameter or ".downsample.1" in parameter:
            nn.init.uniform_(value, *((0.2, 1.0) if parameter.endswith("weight") else (0.0, 0.5)))
    torch.manual_seed(147)
    train_images = torch.rand(8, 3, 8, 8)
    save_file(model.state_dict(), directory / f"{name}.safetensors")
    train_projections, _ = training_step(model, train_images)
    tensors = {"train_images": train_images, "train_projections": train_projections.float()}
    save_file(tensors, directory / f"{name}.golden.safetensors")

    return fastnets(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["check", "golden", "fastnets", "gradients"])
    parser.add_argument("directory")
    arguments = parser.parse_args()
    commands = {"check": check, "golden": golden, "fastnets": fastnets, "gradients": gradients}
    sys.exit(commands[arguments.command](arguments.directory))
