#!/usr/bin/env python3
"""The main job of `train_cifar10` in plain PyTorch, to compare results with: same network, loss, batches, schedule, scores.

    pip install torch torchvision scikit-learn
    tools/reference/train_pytorch.py DATA --steps 126 --batch 128 --width 16 --hidden 512 --images 10000 --warmup 20

DATA holds cifar-10-batches-bin/ and cifar-100-binary/test.bin. Prints accuracy and AUROC against CIFAR-100 for none, 4-way
and 8-way self-ensemble inference (weighted average of Eq. 19-20), as JSON.
"""
import argparse, json, math, time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn
from torchvision.transforms import v2


def records(path, label_bytes):
    data = np.fromfile(path, dtype=np.uint8).reshape(-1, label_bytes + 3072)
    return torch.from_numpy(data[:, label_bytes:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(data[:, label_bytes - 1].astype(np.int64))


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Net(nn.Module):
    """ResNet-18 with the CIFAR stem and the two-layer head."""

    def __init__(self, width, hidden):
        super().__init__()
        layers, cin = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
        for stage in range(4):
            for block in range(2):
                cout = width << stage
                layers.append(Block(cin, cout, 2 if stage and not block else 1))
                cin = cout
        self.encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.projector = nn.Sequential(nn.Linear(cin, hidden), nn.ReLU(), nn.Linear(hidden, 128))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        return self.projector(self.encoder(x))


def mcl(z, label, aux, tau=0.2, alpha=0.05, beta=2.5):
    """Eq. 10-11 with the exact expectation of Eq. 9; rows 2k and 2k + 1 of `z` are the views of sample k."""
    z = F.normalize(z)
    n = len(z)
    label, aux, sample = (t.repeat_interleave(2) for t in (label, aux, torch.arange(n // 2)))
    sim = z @ z.T
    same_class, same_aux = label[:, None] == label, aux[:, None] == aux
    scale = torch.full_like(sim, 1 / tau)
    scale[same_class] = beta
    scale[same_class & same_aux] = alpha
    own = torch.eye(n, dtype=torch.bool)
    sibling = (sample[:, None] == sample) & ~own
    logits = (sim * scale).masked_fill(own, -1e9)
    ccm = (torch.logsumexp(logits, 1) - sim[sibling] / tau).mean()
    # SPA: the parent's views leave the denominator; the positive is any same-label view of another image.
    log_sum = torch.logsumexp(logits.masked_fill(sibling, -1e9), 1)
    positive = same_class & same_aux & ~own & ~sibling
    count = positive.sum(1)
    attraction = log_sum - (sim * positive).sum(1) / count.clamp(min=1) / tau
    return ccm + torch.where(count > 0, attraction, 0.0).mean()


def nt_xent(z, label, aux, tau=0.2):
    z = F.normalize(z)
    logits = (z @ z.T / tau).fill_diagonal_(-1e9)
    return F.cross_entropy(logits, torch.arange(len(z)) ^ 1)


def batches(images, labels, per_batch, steps, seed):
    rng = np.random.default_rng(seed)
    crop = v2.Compose([v2.RandomResizedCrop(32, (0.08, 1.0)), v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), v2.RandomGrayscale(0.2)])
    order = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < per_batch:
            order = rng.permutation(len(images))
        picked, order = order[:per_batch], order[per_batch:]
        views = []
        for index in picked:
            image = images[index].float() / 255
            for turn in range(4):
                for _ in range(2):
                    view = torch.rot90(image, turn, (1, 2))
                    if rng.random() < 0.5:
                        view = view.flip(2 if turn % 2 == 0 else 1)
                    views.append(crop(view))
        yield torch.stack(views), labels[picked].repeat_interleave(4), torch.arange(4).repeat(per_batch)


def test_views(images):
    turned = [torch.rot90(images, turn, (2, 3)) for turn in range(4)]
    return turned + [view.flip(3 if turn % 2 == 0 else 2) for turn, view in enumerate(turned)]


@torch.no_grad()
def project(net, images, views):
    """[images, views, 128], normalised, float64."""
    out = []
    for chunk in images.split(250):
        out.append(torch.stack([F.normalize(net(v)) for v in test_views(chunk.float() / 255)[:views]], 1))
    return torch.cat(out).double()


def fit(z, labels):
    fitted = []
    for c in range(10):
        for turn in range(4):
            x = z[labels == c, turn]
            mean = x.mean(0)
            cov = (x - mean).T @ (x - mean) / (len(x) - 1) + 1e-9 * torch.eye(x.shape[1], dtype=x.dtype)
            fitted.append((mean, torch.linalg.inv(torch.linalg.cholesky(cov))))
    return fitted


def distances(z, fitted):
    out = torch.empty(len(z), z.shape[1], 10, dtype=z.dtype)
    for view in range(z.shape[1]):
        for c in range(10):
            mean, whiten = fitted[4 * c + view % 4]
            out[:, view, c] = ((z[:, view] - mean) @ whiten.T).square().sum(1)
    return out


def weighted(d):
    """Eq. 19-20: a view weighs as much as its harmonic mean distance over classes."""
    weight = 1 / (1 / d).sum(2, keepdim=True)
    return -(d * weight).sum(1) / weight.sum(1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path)
    for name, default in dict(steps=505, batch=128, width=16, hidden=512, images=10_000, warmup=20, seed=0).items():
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--loss", choices=("mcl", "nt_xent"), default="mcl")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    parts = [records(a.data / f"cifar-10-batches-bin/data_batch_{k}.bin", 1) for k in range(1, 6)]
    images, labels = (torch.cat(part)[: a.images] for part in zip(*parts))
    test, test_labels = records(a.data / "cifar-10-batches-bin/test_batch.bin", 1)
    other, _ = records(a.data / "cifar-100-binary/test.bin", 2)

    net = Net(a.width, a.hidden).to(memory_format=torch.channels_last)
    peak = 0.3 * 4 * a.batch / 256
    optimizer = torch.optim.SGD(net.parameters(), peak, momentum=0.9, weight_decay=1e-6, nesterov=True)
    loss_of, started = {"mcl": mcl, "nt_xent": nt_xent}[a.loss], time.time()
    for step, (x, y, r) in enumerate(batches(images, labels, a.batch, a.steps, a.seed)):
        progress = (step - a.warmup) / max(a.steps - a.warmup, 1)
        rate = (step + 1) / a.warmup if step < a.warmup else 5e-4 + (1 - 5e-4) * (1 + math.cos(math.pi * progress)) / 2
        optimizer.param_groups[0]["lr"] = peak * rate
        loss = loss_of(net(x.contiguous(memory_format=torch.channels_last)), y, r)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f} {8 * a.batch * (step + 1) / (time.time() - started):.0f} views/s", flush=True)

    net.eval()
    fitted = fit(project(net, images, 4), labels)
    d_test, d_other = (distances(project(net, x, 8), fitted) for x in (test, other))
    results = {"views_trained": 8 * a.batch * a.steps, "loss": a.loss}
    for views in (1, 4, 8):
        ind, ood = weighted(d_test[:, :views]), weighted(d_other[:, :views])
        scores = torch.cat([ind.max(1).values, ood.max(1).values]).numpy()
        truth = np.r_[np.ones(len(ind)), np.zeros(len(ood))]
        results[f"{views}"] = {"accuracy": (ind.argmax(1) == test_labels).double().mean().item(), "auroc": roc_auc_score(truth, scores)}
    print(json.dumps(results))


main()
