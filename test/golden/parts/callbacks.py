"""callbacks.json: what EarlyStopping, ReduceLROnPlateau and ModelCheckpoint do over made-up epochs."""

import os
import tempfile

import keras
import numpy as np

from .common import write_json

# Losses of up to twelve epochs: falling, rising, flat, steps smaller than a delta, one that returns late.
SERIES = {
    "falling": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
    "rising": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2],
    "flat": [0.5] * 8,
    "valley": [1.0, 0.6, 0.5, 0.55, 0.52, 0.6, 0.45, 0.5, 0.5, 0.5, 0.5, 0.5],
    "creeping": [1.0, 0.99995, 0.9999, 0.9998, 0.9997, 0.9, 0.89, 0.89, 0.89, 0.89],
    "not_a_number": [1.0, float("nan"), float("nan"), 0.5, 0.6, 0.7],
}
STOPPING = [
    {},
    {"patience": 1},
    {"patience": 2, "restore_best_weights": True},
    {"patience": 2, "min_delta": 0.04},
    {"patience": 1, "start_from_epoch": 3, "restore_best_weights": True},
    {"patience": 2, "mode": "max", "restore_best_weights": True},
]
PLATEAU = [
    {"patience": 1},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "factor": 0.5, "cooldown": 2},
    {"patience": 1, "factor": 0.1, "min_lr": 0.002},
    {"patience": 2, "factor": 0.5, "min_delta": 0.04},
    {"patience": 2, "factor": 0.5, "mode": "max"},
]
CHECKPOINT = [
    {},
    {"save_best_only": True},
    {"save_best_only": True, "mode": "max"},
]


def model():
    keras.backend.clear_session()
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    made.compile(keras.optimizers.SGD(0.1), "mse")
    return made


def epochs(made, callback, values):
    """Drives a callback: after epoch e the model's weight is e. Yields the epoch while training goes on."""
    callback.set_model(made)
    made.stop_training = False
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        made.set_weights([np.array([[epoch]], "float32")])
        logs = {"loss": value, "val_loss": value}
        callback.on_epoch_end(epoch, logs)
        yield epoch, logs
        if made.stop_training:
            break
    callback.on_train_end()


def stopping(options, values):
    made = model()
    done = [epoch for epoch, _ in epochs(made, keras.callbacks.EarlyStopping(**options), values)]
    return {"epochs": len(done), "weight": float(made.get_weights()[0][0, 0])}


def plateau(options, values):
    made = model()
    run = epochs(made, keras.callbacks.ReduceLROnPlateau(**options), values)
    return {"rates": [logs["learning_rate"] for _, logs in run], "last": float(made.optimizer.learning_rate)}


def checkpoint(options, values):
    made = model()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "{epoch:02d}.h5")
        list(epochs(made, keras.callbacks.ModelCheckpoint(path, **options), values))
        return {"saved": sorted(int(name[:2]) for name in os.listdir(folder))}


def write(folder):
    def cases(run, choices):
        return [
            {"options": options, "series": name, **run(options, values)}
            for options in choices
            for name, values in SERIES.items()
        ]

    readable = {name: [None if np.isnan(v) else v for v in values] for name, values in SERIES.items()}
    write_json(
        folder / "callbacks.json",
        {
            "keras": keras.__version__,
            "series": readable,
            "early_stopping": cases(stopping, STOPPING),
            "reduce_lr_on_plateau": cases(plateau, PLATEAU),
            "model_checkpoint": cases(checkpoint, CHECKPOINT),
        },
    )
