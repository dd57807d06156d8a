"""What scipy and scikit-learn say about made-up predictions: writes report.json. Needs numpy, scipy, scikit-learn."""

import json
import pathlib

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

rng = np.random.default_rng(7)
n, k = 120, 4
logits = rng.normal(size=(n, k)) * 3
# Overconfident: the labels are noisier than the logits say.
labels = np.argmax(logits + rng.normal(size=(n, k)) * 3, axis=1)
p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
predicted, confidence = p.argmax(1), p.max(1).astype(np.float64)

# Expected calibration error with 15 bins, as in gpleiss/temperature_scaling.
edges = np.linspace(0, 1, 16)
ece = 0.0
for low, high in zip(edges[:-1], edges[1:]):
    inside = (confidence > low) & (confidence <= high)
    if inside.any():
        ece += inside.mean() * abs((predicted == labels)[inside].mean() - confidence[inside].mean())

z = np.log(p.astype(np.float64))


def nll(t):
    return -np.mean(scipy.special.log_softmax(z / t, axis=1)[np.arange(n), labels])


best = minimize_scalar(nll, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-10})
precision, recall, f1, support = precision_recall_fscore_support(labels, predicted)
wilson = []
for right, count in [(81, 100), (0, 10), (10, 10), (9412, 10000)]:
    interval = binomtest(right, count).proportion_ci(method="wilson")
    wilson.append([right, count, interval.low, interval.high])
golden = {
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__},
    "labels": labels.tolist(),
    "probabilities": [float(f"{v:.9g}") for v in p.ravel()],
    "confusion": confusion_matrix(labels, predicted).tolist(),
    "precision": precision.tolist(),
    "recall": recall.tolist(),
    "f1": f1.tolist(),
    "support": support.tolist(),
    "wilson": wilson,
    "ece": ece,
    "nll": log_loss(labels, p.astype(np.float64)),
    "temperature": float(best.x),
    "scaled_nll": float(best.fun),
}
path = pathlib.Path(__file__).with_name("report.json")
path.write_text(json.dumps(golden) + "\n")
