"""The Python side of benches/scoring.rs: 10,000 images x 8 views x 10 classes, dimension 128.

`numpy loop` is the algorithm of the code released with the paper: image by image, view by view, class by class one
Mahalanobis distance with numpy. It is run on 50 images, and its time is scaled to all of them.
"""

import numpy as np
import torch

from common import THREADS, measure, report

IMAGES, VIEWS, CLASSES, ROTATIONS, DIM = 10_000, 8, 10, 4, 128
FEW = 50

torch.set_num_threads(THREADS)
random = np.random.default_rng(0)
view_aux = [0, 1, 2, 3] * 2
embeddings = random.normal(size=(IMAGES, VIEWS, DIM)).astype(np.float32)
means = random.normal(size=(CLASSES, ROTATIONS, DIM)) * 0.01
roots = random.normal(size=(CLASSES, ROTATIONS, DIM, 2 * DIM)) / DIM
precisions = np.linalg.inv(roots @ roots.transpose(0, 1, 3, 2) + 1e-9 * np.eye(DIM))


def loop():
    scores = np.empty((FEW, VIEWS, CLASSES))
    for image in range(FEW):
        for view in range(VIEWS):
            feature = embeddings[image, view] / np.linalg.norm(embeddings[image, view])
            for label in range(CLASSES):
                difference = feature - means[label, view_aux[view]]
                precision = precisions[label, view_aux[view]]
                scores[image, view, label] = -np.sqrt(difference @ precision @ difference)
    return scores


# [rotations, dim, classes * dim]: all whitenings of a rotation side by side, one matrix product a view.
whitening = np.linalg.cholesky(precisions).transpose(1, 2, 0, 3).reshape(ROTATIONS, DIM, CLASSES * DIM)
shift = np.einsum("rdk,crd->rck", whitening, means).reshape(ROTATIONS, CLASSES, CLASSES, DIM)
shift = np.stack([shift[:, label, label] for label in range(CLASSES)], 1).reshape(ROTATIONS, 1, CLASSES * DIM)
whitening, shift, images = (torch.tensor(x, dtype=torch.float32) for x in (whitening, shift, embeddings))
centred_whitening = whitening.view(ROTATIONS, DIM, CLASSES, DIM).permute(0, 2, 1, 3).contiguous()
torch_means = torch.tensor(means, dtype=torch.float32)


@torch.no_grad()
def one_product():
    """All classes in one product; rounds more than centring first."""
    normal = torch.nn.functional.normalize(images, dim=2)
    scores = torch.empty(IMAGES, VIEWS, CLASSES)
    for view, aux in enumerate(view_aux):
        white = torch.addmm(shift[aux], normal[:, view], whitening[aux], beta=-1)
        scores[:, view] = -white.view(IMAGES, CLASSES, DIM).square().sum(2)
    return scores


@torch.no_grad()
def centred():
    """The difference to each mean first, as here."""
    normal = torch.nn.functional.normalize(images, dim=2)
    scores = torch.empty(IMAGES, VIEWS, CLASSES)
    for view, aux in enumerate(view_aux):
        difference = normal[:, view][None] - torch_means[:, aux, None]
        white = torch.bmm(difference, centred_whitening[aux])
        scores[:, view] = -white.square_().sum(2).T
    return scores


expected = -np.square(loop())
for fast in (one_product, centred):
    assert np.allclose(fast()[:FEW].numpy(), expected, rtol=1e-3), fast.__name__
report(
    {
        "numpy loop": measure(loop) * IMAGES / FEW,
        "torch, one product": measure(one_product),
        "torch, centred": measure(centred),
    }
)
