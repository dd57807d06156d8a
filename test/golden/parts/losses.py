"""losses.*: loss objects (value and gradient by the predictions) and accuracy metrics over two updates."""

import keras
import numpy as np
import tensorflow as tf

from .common import Golden, generator, normal

CLASSES = 7
BATCH = 4


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype("float32")


def predictions():
    """Yields (name, from_logits, array)."""
    logits = normal(generator("losses/logits"), (BATCH, CLASSES), 2.0)
    large = normal(generator("losses/large"), (BATCH, CLASSES), 60.0)
    positive = generator("losses/unnormalized").uniform(0.05, 0.9, (BATCH, CLASSES)).astype("float32")
    saturated = softmax(logits)
    saturated[0] = np.eye(CLASSES)[2]
    saturated[1] = [1e-9, 1e-8, 0.25, 0.25, 0.25, 0.25, 1e-9]
    yield "logits", True, logits
    yield "large_logits", True, large
    yield "probabilities", False, softmax(logits)
    yield "unnormalized", False, positive
    yield "saturated", False, saturated


def add_losses(golden):
    labels = np.array([2, 0, 6, 3], "int32")
    one_hot = np.eye(CLASSES, dtype="float32")[labels]
    weights = np.array([0.5, 2.0, 0.0, 1.25], "float32")
    golden.put("losses/labels", labels)
    golden.put("losses/one_hot", one_hot)
    golden.put("losses/sample_weight", weights)
    for kind, from_logits, array in predictions():
        golden.put(f"losses/predictions/{kind}", array)
        for cls, target, smoothings in [
            (keras.losses.CategoricalCrossentropy, one_hot, (0.0, 0.1)),
            (keras.losses.SparseCategoricalCrossentropy, labels, (None,)),
        ]:
            for smoothing in smoothings:
                options = {} if smoothing is None else {"label_smoothing": smoothing}
                for weighted in (False, True):
                    loss = cls(from_logits=from_logits, **options)
                    predicted = tf.constant(array)
                    with tf.GradientTape() as tape:
                        tape.watch(predicted)
                        value = loss(target, predicted, sample_weight=weights if weighted else None)
                    sparse = "sparse_" if smoothing is None else ""
                    name = f"{sparse}crossentropy_{kind}"
                    name += "_smoothing" if smoothing else ""
                    name += "_weighted" if weighted else ""
                    golden.put(f"{name}/value", np.float32(value.numpy()))
                    golden.put(f"{name}/gradient", tape.gradient(value, predicted).numpy())
                    golden.json["losses"].append(
                        {
                            "name": name,
                            "loss": cls.__name__,
                            "config": loss.get_config(),
                            "targets": "losses/labels" if smoothing is None else "losses/one_hot",
                            "predictions": f"losses/predictions/{kind}",
                            "sample_weight": "losses/sample_weight" if weighted else None,
                            "value": float(value.numpy()),
                        }
                    )


def add_metrics(golden):
    rng = generator("metrics")
    classes = 9
    batches = []
    for index, size in enumerate((5, 3)):
        predicted = softmax(normal(rng, (size, classes), 1.5))
        labels = rng.integers(0, classes, size).astype("int32")
        labels[0] = predicted[0].argmax()  # so that something is right
        weights = rng.uniform(0.2, 2.0, size).astype("float32")
        one_hot = np.eye(classes, dtype="float32")[labels]
        batches.append((labels, one_hot, predicted, weights))
        for key, array in zip(("labels", "one_hot", "predictions", "sample_weight"), batches[-1]):
            golden.put(f"metrics/{index}/{key}", array)
    for cls, sparse in [
        (keras.metrics.CategoricalAccuracy, False),
        (keras.metrics.SparseCategoricalAccuracy, True),
        (keras.metrics.TopKCategoricalAccuracy, False),
        (keras.metrics.SparseTopKCategoricalAccuracy, True),
    ]:
        for weighted in (False, True):
            metric = cls()
            results = []
            for labels, one_hot, predicted, weights in batches:
                metric.update_state(
                    labels if sparse else one_hot, predicted, sample_weight=weights if weighted else None
                )
                results.append(float(metric.result()))
            golden.json["metrics"].append(
                {
                    "name": f"{metric.name}{'_weighted' if weighted else ''}",
                    "metric": cls.__name__,
                    "config": metric.get_config(),
                    "targets": "labels" if sparse else "one_hot",
                    "weighted": weighted,
                    "results": results,
                }
            )


def write(folder):
    golden = Golden("losses", losses=[], metrics=[])
    add_losses(golden)
    add_metrics(golden)
    golden.write(folder)
