"""The Python side of benches/augment.rs: seconds for one SimCLR view of a 32 x 32 image, on one core.

Flip, random resized crop, colour jitter (p 0.8), grey (p 0.2), a float tensor at the end; image by image, as a data
loader's worker does it. kornia augments a whole batch at once, with parameters of its own for each image.
"""

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from common import measure, number, report

torch.set_num_threads(1)
VIEWS = 512
pixels = (number(0, VIEWS // 2 * 3072) * 256).astype(np.uint8).reshape(VIEWS // 2, 3, 32, 32)
pictures = [Image.fromarray(image.transpose(1, 2, 0).copy()) for image in pixels]
tensors = [torch.from_numpy(image) for image in pixels]


def simclr(module, *last):
    jitter = module.ColorJitter(0.4, 0.4, 0.4, 0.1)
    return module.Compose(
        [
            module.RandomHorizontalFlip(),
            module.RandomResizedCrop(32, antialias=True),
            module.RandomApply([jitter], p=0.8),
            module.RandomGrayscale(p=0.2),
            *last,
        ]
    )


def each(transform, images):
    """Two views of each image."""
    return measure(lambda: [(transform(image), transform(image)) for image in images]) / VIEWS


to_float = v2.ToDtype(torch.float32, scale=True)
results = {
    "torchvision v1, PIL": each(simclr(v1, v1.ToTensor()), pictures),
    "torchvision v2, PIL": each(simclr(v2, v2.ToImage(), to_float), pictures),
    "torchvision v2, tensor": each(simclr(v2, to_float), tensors),
}

try:
    import kornia.augmentation as kornia
except ImportError:
    pass
else:
    augment = kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomResizedCrop((32, 32), scale=(0.08, 1.0)),
        kornia.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        kornia.RandomGrayscale(p=0.2),
    )
    batch = torch.from_numpy(pixels).float().div_(255).repeat(2, 1, 1, 1)
    results["kornia, batch of 512"] = measure(lambda: augment(batch)) / VIEWS

report(results)
