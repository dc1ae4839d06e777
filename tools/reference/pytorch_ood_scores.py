"""Writes the scores of pytorch-ood's detectors for features and logits that look like a classifier's.

    pip install torch pytorch-ood==0.4.0 scikit-learn
    python tools/reference/pytorch_ood_scores.py > crates/mcl-infer/tests/golden/pytorch_ood.json

crates/mcl-infer/tests/pytorch_ood.rs compares the scorers of mcl-infer with them.
"""

import json
import sys

import pytorch_ood
import torch
from pytorch_ood.detector import (
    KNN, RMD, EnergyBased, Entropy, KLMatching, Mahalanobis, MaxLogit, MaxSoftmax, ReAct, ViM,
)

CLASSES, DIM, PRINCIPAL, K, PERCENTILE = 4, 8, 3, 10, 0.9

generator = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=generator)

# Features are positive, as behind a smooth ReLU.
positive = lambda x: torch.nn.functional.softplus(x, beta=2).round(decimals=4)
centres = 2 * normal(CLASSES, DIM)
spread = torch.diag(torch.linspace(0.3, 1.2, DIM))
labels = torch.arange(160) % CLASSES
train = positive(centres[labels] + normal(160, DIM) @ spread)
inside = centres[torch.arange(24) % CLASSES] + normal(24, DIM) @ spread
test = positive(torch.cat([inside, 2.5 * normal(24, DIM)]))

# A classifier without a bias, like those of the library.
weight = torch.nn.functional.normalize(centres, dim=1).round(decimals=4)
head = lambda x: x @ weight.T
logits, train_logits = head(test), head(train)

scores = {
    "softmax": MaxSoftmax(None).predict_logits(logits),
    "entropy": Entropy(None).predict_logits(logits),
    "max_logit": MaxLogit(None).predict_logits(logits),
    "energy": EnergyBased(None).predict_logits(logits),
    "kl_matching": KLMatching(None).fit_logits(train_logits, labels).predict_logits(logits),
    "mahalanobis": Mahalanobis(None).fit_features(train, labels).predict_features(test),
    "relative_mahalanobis": RMD(None).fit_features(train, labels).predict_features(test),
    "knn": KNN(None, k=K).fit_features(train, labels).predict_features(test),
    "vim": ViM(None, d=PRINCIPAL, w=weight, b=torch.zeros(CLASSES)).fit_features(train, labels).predict_features(test),
    "react": ReAct(None, head, percentile=PERCENTILE).fit_feature_maps(train, labels).predict_feature_maps(test),
}
flat = lambda tensor: [round(value, 4) for value in tensor.flatten().double().tolist()]
json.dump(
    {
        "pytorch_ood": pytorch_ood.__version__,
        "torch": torch.__version__.split("+")[0],
        "classes": CLASSES, "dim": DIM, "principal": PRINCIPAL, "k": K, "percentile": PERCENTILE,
        "train": flat(train), "labels": labels.tolist(), "test": flat(test), "weight": flat(weight.T),
        "scores": {name: values.double().tolist() for name, values in scores.items()},
    },
    sys.stdout,
)
