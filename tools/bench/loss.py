"""The Python side of benches/loss.rs: MCL forward and backward for 512, 2048 and 8192 views of dimension 128.

    python tools/bench/loss.py [--threads 2] [--golden crates/mcl-loss/tests/golden/loss.json]

`released` goes about it as the released code does: masks of all pairs put together anchor by anchor in Python, CCM and
SPA as two functions that each compute their own similarities. `vectorised` is the same arithmetic as this library's
default in as few operations on matrices of all pairs as possible; its value and gradient are checked against the
reference numbers first.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from common import THREADS, measure, number, report

DIM, CLASSES, ROTATIONS = 128, 10, 4
TEMPERATURE, ALPHA, BETA = 0.2, 0.05, 2.5
GOLDEN = Path(__file__).resolve().parent.parent.parent / "crates/mcl-loss/tests/golden/loss.json"


def of_views(labels):
    return labels.repeat_interleave(2)


def vectorised(projections, classes, aux, temperature=TEMPERATURE, alpha=ALPHA, beta=BETA, spa_weight=1.0):
    """Rows 2k and 2k + 1 of `projections` are the views of image k."""
    unit = F.normalize(projections, dim=1)
    similarity = unit @ unit.T
    views = len(unit)
    image = of_views(torch.arange(views // 2, device=unit.device))
    same_image = image[:, None] == image
    classes = of_views(classes)
    same_class = classes[:, None] == classes
    label = classes * (aux.max() + 1) + of_views(aux) if aux is not None else classes
    same_label = label[:, None] == label
    mask = torch.full_like(similarity, 1 / temperature)
    mask.masked_fill_(same_class, beta).masked_fill_(same_label, alpha)
    log_others = (similarity * mask).masked_fill(same_image, -torch.inf).logsumexp(1)
    sibling = (unit[0::2] * unit[1::2]).sum(1).repeat_interleave(2)
    ccm = torch.logaddexp(log_others, alpha * sibling) - sibling / temperature
    positives = (same_label & ~same_image).to(similarity.dtype)
    count = positives.sum(1)
    attraction = (similarity * positives).sum(1) / count.clamp(min=1)
    spa = torch.where(count > 0, log_others - attraction / temperature, 0)
    return ccm.mean() + spa_weight * spa.mean()


def check(path):
    for case in json.loads(path.read_text()):
        # The reference numbers belong to the f32 values, of which the file keeps the leading digits.
        projections = torch.tensor(case["projections"], dtype=torch.float32).double().requires_grad_()
        aux = case["aux_labels"]
        loss = vectorised(
            projections,
            torch.tensor(case["labels"]),
            torch.tensor(aux) if aux is not None else None,
            *(case[name] for name in ["temperature", "alpha", "beta", "spa_weight"]),
        )
        loss.backward()
        expected = case["expected"]["paper_total_expectation"]
        np.testing.assert_allclose(loss.item(), expected["loss"], rtol=1e-9, atol=1e-12)
        gradient = np.array(expected["grad"])
        np.testing.assert_allclose(projections.grad.numpy(), gradient, rtol=0, atol=1e-9 * np.abs(gradient).max())


def released_similarities(first, second):
    """First views, then second views, clamped cosines."""
    views = torch.cat([first, second])
    norms = views.norm(dim=1, keepdim=True)
    return (views @ views.T / (norms @ norms.T).clamp(min=1e-12)).clamp(min=1e-7)


def released_weights(label, aux):
    """The mask of all pairs, one anchor at a time."""
    rows = []
    for anchor in range(len(label)):
        weights = torch.full((len(label),), 1 / TEMPERATURE)
        same_class = label == label[anchor]
        weights[same_class] = BETA
        weights[same_class & (aux == aux[anchor])] = ALPHA
        rows.append(weights)
    return torch.stack(rows)


def released_ccm(first, second, label, aux):
    images = len(first)
    similarity = released_similarities(first, second)
    weights = released_weights(torch.cat([label, label]), torch.cat([aux, aux]))
    itself = torch.eye(2 * images, dtype=torch.bool)
    image = torch.arange(2 * images) % images
    sibling = (image[:, None] == image) & ~itself
    exponentials = torch.exp(similarity * torch.where(sibling, 1 / TEMPERATURE, weights))
    denominator = exponentials.masked_fill(itself, 0).sum(1)
    return -torch.log(exponentials[sibling] / denominator).mean()


def released_spa(first, second, label, aux, generator):
    images = len(first)
    partners = []
    for anchor in range(images):
        candidates = ((label == label[anchor]) & (aux == aux[anchor])).nonzero()[:, 0]
        candidates = candidates[candidates != anchor]
        if len(candidates) == 0:
            return torch.zeros(())
        partners.append(candidates[torch.randint(len(candidates), (1,), generator=generator)].item())
    partners = torch.tensor(partners)
    partner = torch.cat([partners, partners + images])
    similarity = released_similarities(first, second)
    weights = released_weights(torch.cat([label, label]), torch.cat([aux, aux]))
    rows = torch.arange(2 * images)
    weights[rows, rows.roll(images)] = 0
    weights[rows, partner] = 1 / TEMPERATURE
    exponentials = torch.exp(similarity * weights)
    denominator = exponentials.masked_fill(torch.eye(2 * images, dtype=torch.bool), 0).sum(1)
    return -torch.log(exponentials[rows, partner] / denominator).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    parser.add_argument("--views", type=int, nargs="*", default=[512, 2048, 8192])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    check(arguments.golden)
    results, losses = {}, {}
    for views in arguments.views:
        values = (number(0, views * DIM).astype(np.float32) - np.float32(0.5)).reshape(views, DIM)
        projections = torch.tensor(values, requires_grad=True)
        image = torch.arange(views // 2)
        label, aux = image // ROTATIONS % CLASSES, image % ROTATIONS
        generator = torch.Generator().manual_seed(0)

        def run(loss):
            projections.grad = None
            value = loss()
            value.backward()
            return value.item()

        def released():
            unit = F.normalize(projections, dim=1)
            pair = unit[0::2], unit[1::2]
            return released_ccm(*pair, label, aux) + released_spa(*pair, label, aux, generator)

        losses[f"loss/{views}"] = run(lambda: vectorised(projections, label, aux))
        results[f"loss/{views}, released"] = measure(lambda: run(released))
        results[f"loss/{views}, vectorised"] = measure(lambda: run(lambda: vectorised(projections, label, aux)))
    report(results | {"values": losses})


if __name__ == "__main__":
    main()
