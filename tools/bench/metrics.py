"""The Python side of benches/metrics.rs: class Gaussians from 400,000 x 128 features, metrics of 10,000,000 scores."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from common import measure, number, report

CLASSES, ROTATIONS, DIM, SAMPLES = 10, 4, 128, 400_000
SCORES = 5_000_000

features = (number(0, SAMPLES * DIM).astype(np.float32) - np.float32(0.4)).reshape(SAMPLES, DIM)
label = np.arange(SAMPLES) % CLASSES
aux = np.arange(SAMPLES) // CLASSES % ROTATIONS


def fit():
    """Unit length, then mean, covariance and whitening of each cluster, in float64."""
    gaussians = []
    for cluster in range(CLASSES * ROTATIONS):
        rows = features[(label == cluster // ROTATIONS) & (aux == cluster % ROTATIONS)].astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        covariance = np.cov(rows, rowvar=False) + 1e-9 * np.eye(DIM)
        whitening = solve_triangular(cholesky(covariance, lower=True), np.eye(DIM), lower=True)
        gaussians.append((rows.mean(0), covariance, whitening))
    return gaussians


scores = number(0, 2 * SCORES)
scores[:SCORES] += 0.3
is_ind = np.arange(2 * SCORES) < SCORES


def fpr95():
    fpr, tpr, _ = roc_curve(is_ind, scores, drop_intermediate=False)
    return fpr[np.argmax(tpr >= 0.95)]


def auroc():
    return roc_auc_score(is_ind, scores)


def average_precision():
    return average_precision_score(is_ind, scores)


report(
    {
        "fit": measure(fit),
        "auroc": measure(auroc, least=2),
        "fpr95": measure(fpr95, least=2),
        "average_precision": measure(average_precision, least=2),
        "values": {"auroc": auroc(), "fpr95": fpr95(), "average_precision": average_precision()},
    }
)
