"""training.*: a small model trained step by step with each optimizer, whole, partly frozen and with a rate for each
group of layers; weighted fits."""

import json

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

from .common import Golden, generator, normal

STEPS = 10
BATCH = 6
CLASSES = 5
FROZEN = ["conv_a", "bn_a"]
# From each layer on, the share of the learning rate.
MULTIPLIERS = {"conv_a": 0.1, "conv_b": 0.5, "dense_a": 1.0}
OPTIMIZERS = {
    "sgd_nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(1e-3),
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "adamw": lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.1),
    "adam_accumulation": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=3),
}


def small_model():
    keras.backend.clear_session()
    inputs = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="conv_a")(inputs)
    x = L.BatchNormalization(name="bn_a")(x)
    x = L.MaxPooling2D(name="pool")(x)
    x = L.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="conv_b")(x)
    x = L.BatchNormalization(name="bn_b")(x)
    x = L.ReLU(name="relu_b")(x)
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(8, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3), name="dense_a")(x)
    outputs = L.Dense(CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="small")


def initial_weights(model):
    """Values by path: He-like kernels, and batch norms that are not the identity."""
    values = {}
    for weight in model.weights:
        rng = generator(f"training/{weight.path}")
        if weight.name == "kernel":
            values[weight.path] = normal(rng, weight.shape, np.sqrt(2 / np.prod(weight.shape[:-1])))
        elif weight.name in ("gamma", "moving_variance"):
            values[weight.path] = (0.6 + 0.8 * rng.random(weight.shape)).astype("float32")
        else:
            values[weight.path] = normal(rng, weight.shape, 0.1)
    return values


def restore(model, values):
    for weight in model.weights:
        weight.assign(values[weight.path])


def draw_data():
    """Noisy copies of one prototype a class, so that ten steps learn something."""
    rng = generator("training/data")
    prototypes = normal(rng, (CLASSES, 8, 8, 3))
    labels = rng.integers(0, CLASSES, (STEPS, BATCH)).astype("int32")
    return prototypes[labels] + normal(rng, (STEPS, BATCH, 8, 8, 3), 0.7), labels


def compiled(values, make_optimizer, frozen, **options):
    model = small_model()
    restore(model, values)
    for name in frozen:
        model.get_layer(name).trainable = False
    model.compile(
        make_optimizer(),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,
        jit_compile=False,
        **options,
    )
    return model


def train(values, make_optimizer, frozen, x, y):
    model = compiled(values, make_optimizer, frozen)
    logs = [model.train_on_batch(x[step], y[step], return_dict=True) for step in range(STEPS)]
    return model, {
        "loss": np.array([log["loss"] for log in logs], "float32"),
        "accuracy": np.array([log["accuracy"] for log in logs], "float32"),
        **{f"final/{w.path}": w.numpy() for w in model.weights},
    }


def first_gradients(values, frozen, x, y):
    """Gradients of the reported loss (regularization included) at the initial weights on batch 0."""
    model = compiled(values, keras.optimizers.SGD, frozen)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    found = tape.gradient(loss, [w.value for w in model.trainable_weights])
    return {w.path: g.numpy() for w, g in zip(model.trainable_weights, found)}


def add_steps(golden, values, x, y):
    for freezing, frozen in [("whole", []), ("frozen", FROZEN)]:
        for path, gradient in first_gradients(values, frozen, x[0], y[0]).items():
            golden.put(f"{freezing}/gradients/{path}", gradient)
        for name in ("sgd_nesterov", "rmsprop", "adam", "adamw"):
            make_optimizer = OPTIMIZERS[name]
            case = f"{freezing}_{name}"
            model, results = train(values, make_optimizer, frozen, x, y)
            _, again = train(values, make_optimizer, frozen, x, y)
            for key, array in results.items():
                if not np.array_equal(array, again[key]):
                    raise ValueError(f"{case}: {key} differs in a second run")
                golden.put(f"{case}/{key}", array)
            evaluated = model.evaluate(x[0], y[0], batch_size=BATCH, verbose=0, return_dict=True)
            golden.put(f"{case}/predictions", model.predict(x[0], verbose=0))
            golden.json["steps"].append(
                {
                    "name": case,
                    "optimizer": type(model.optimizer).__name__,
                    "config": model.optimizer.get_config(),
                    "frozen": frozen,
                    "trainable_weights": [w.path for w in model.trainable_weights],
                    "loss": [float(v) for v in results["loss"]],
                    "accuracy": [float(v) for v in results["accuracy"]],
                    "evaluate_batch_0": {key: float(value) for key, value in evaluated.items()},
                }
            )


def add_fits(golden, values, x, y):
    """Epochs over all 60 pictures in order, batch 16: the last batch has 12. History is that of the last epoch."""
    x, y = x.reshape(-1, *x.shape[2:]), y.reshape(-1, CLASSES)
    sample_weight = generator("training/sample_weight").uniform(0.1, 2.0, len(x)).astype("float32")
    class_weight = {0: 0.5, 1: 2.0, 3: 3.0}  # the classes left out weigh 1
    golden.put("fit/sample_weight", sample_weight)
    for name, optimizer, epochs, weights, by_class in [
        ("fit_plain", "sgd_nesterov", 1, None, None),
        ("fit_sample_weight", "sgd_nesterov", 1, sample_weight, None),
        ("fit_class_weight", "sgd_nesterov", 1, None, class_weight),
        ("fit_both", "sgd_nesterov", 1, sample_weight, class_weight),
        # 8 batches: updates after the 3rd and the 6th, in the next epoch; the last 2 wait.
        ("fit_accumulation", "adam_accumulation", 2, None, None),
    ]:
        model = compiled(values, OPTIMIZERS[optimizer], [], weighted_metrics=["categorical_accuracy"])
        try:
            history = model.fit(
                x,
                y,
                batch_size=16,
                epochs=epochs,
                shuffle=False,
                sample_weight=weights,
                class_weight=by_class,
                validation_data=(x[:20], y[:20]),
                verbose=0,
            ).history
            outcome = {"history": {key: float(column[-1]) for key, column in history.items()}}
            for weight in model.weights:
                golden.put(f"{name}/final/{weight.path}", weight.numpy())
        except ValueError as error:
            outcome = {"error": str(error)}
        golden.json["fits"].append(
            {
                "name": name,
                "optimizer": type(model.optimizer).__name__,
                "config": model.optimizer.get_config(),
                "epochs": epochs,
                "batch_size": 16,
                "validation": "the first 20 pictures, unweighted",
                "sample_weight": "fit/sample_weight" if weights is not None else None,
                "class_weight": {str(key): value for key, value in (by_class or {}).items()} or None,
                **outcome,
            }
        )


def grouped(model, make_optimizer):
    """An optimizer of its own for the weights of each group, at its share of the learning rate."""
    groups = []
    for layer in model.layers:
        if layer.name in MULTIPLIERS:
            optimizer = make_optimizer()
            optimizer.learning_rate = float(optimizer.learning_rate.numpy()) * MULTIPLIERS[layer.name]
            groups.append((optimizer, []))
        if groups:
            groups[-1][1].extend(layer.trainable_weights)
    return groups


def add_groups(golden, values, x, y):
    for name in ("sgd_nesterov", "rmsprop", "adamw"):
        model = compiled(values, keras.optimizers.SGD, [])
        groups = grouped(model, OPTIMIZERS[name])
        losses = []
        for step in range(STEPS):
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x[step], y[step], model(x[step], training=True))
            found = tape.gradient(loss, [[w.value for w in weights] for _, weights in groups])
            for (optimizer, weights), gradients in zip(groups, found):
                optimizer.apply(gradients, weights)
            losses.append(float(loss))
        for weight in model.weights:
            golden.put(f"groups_{name}/final/{weight.path}", weight.numpy())
        golden.json["groups"].append(
            {
                "name": f"groups_{name}",
                "optimizer": type(groups[0][0]).__name__,
                "config": OPTIMIZERS[name]().get_config(),
                "multipliers": MULTIPLIERS,
                "loss": losses,
            }
        )


def write(folder):
    golden = Golden("training", batch=BATCH, classes=CLASSES, steps=[], fits=[], groups=[])
    model = small_model()
    values = initial_weights(model)
    golden.json["model"] = json.loads(model.to_json())
    golden.json["weights"] = [{"path": w.path, "shape": list(w.shape)} for w in model.weights]
    x, labels = draw_data()
    y = np.eye(CLASSES, dtype="float32")[labels]
    golden.put("data/x", x)
    golden.put("data/labels", labels)
    for path, value in values.items():
        golden.put(f"initial/{path}", value)
    add_steps(golden, values, x, y)
    add_fits(golden, values, x, y)
    add_groups(golden, values, x, y)
    golden.write(folder)
