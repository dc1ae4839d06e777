"""torchvision's ResNets with random weights, and their features: what `ResNet::load_pytorch` and `load_safetensors` must give.

    pip install torch torchvision safetensors
    python tools/reference/torchvision_resnets.py target/torchvision
    cargo run --release -p mcl-model --example check_torchvision -- target/torchvision

For resnet18, resnet34 and resnet50 at full width, with the ImageNet stem: weights.pth (torch.save of the state dict, classifier
included, as torchvision's ImageNet files), weights.safetensors (the same), and outputs.safetensors (images of 224 pixels, their
features in evaluation mode, and their features after torchvision's standardisation).
"""

import pathlib
import sys

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

STANDARDIZE = torchvision.transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
NETWORKS = ["resnet18", "resnet34", "resnet50"]


def random_network(name):
    """Random scales and shifts, and running statistics of random images: no value is the initial one."""
    model = getattr(torchvision.models, name)(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.rand(4, 3, 224, 224))
    return model.eval()


def main(directory):
    print(f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}")
    torch.manual_seed(0)
    for name in NETWORKS:
        folder = pathlib.Path(directory) / name
        folder.mkdir(parents=True, exist_ok=True)
        model = random_network(name)
        torch.save(model.state_dict(), folder / "weights.pth")
        save_file(model.state_dict(), folder / "weights.safetensors")
        model.fc = nn.Identity()
        images = torch.rand(2, 3, 224, 224)
        with torch.no_grad():
            features = model(images)
            standardized = model(STANDARDIZE(images))
        outputs = {"images": images, "features": features, "features_of_standardized": standardized}
        save_file(outputs, folder / "outputs.safetensors")
        print(f"{folder}: features {list(features.shape)}, largest {features.abs().max().item():.3g}")


if __name__ == "__main__":
    main(sys.argv[1])
