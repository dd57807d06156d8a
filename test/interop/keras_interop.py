"""Opens Graft's files in real Keras, and makes Keras files for Graft to open.

Needs Python with keras >= 3, tensorflow, h5py and safetensors. The tests in this folder run it when the environment
variable GRAFT_KERAS_PYTHON names such a Python, and are skipped otherwise:

    GRAFT_KERAS_PYTHON=/path/to/python npx vitest run test/interop

By hand:

    python keras_interop.py inspect model.h5 [--input x.safetensors --output y.safetensors]
        Loads the file (safe mode on) and prints a JSON summary of layers, weights and optimizer. With --input,
        predicts for the tensor "x" and writes "predictions".
    python keras_interop.py train model.h5 --data data.safetensors --steps 3 --batch-size 4 --output after.safetensors
        Loads the file with its optimizer state, trains on the first batches of "x" and "y" in order, prints the
        losses and writes the weights by path.
    python keras_interop.py make FOLDER --optimizer rmsprop --steps 3 --more 2
        Builds a small model with a partly frozen backbone, trains it, and writes model.h5, model.keras and
        model.weights.h5 (after --steps), after.h5 (after --more further steps) and data.safetensors ("x", "y",
        "predictions" of model.h5).
    python keras_interop.py long FOLDER
        Writes long.h5, a model whose list of layer names does not fit into one attribute, and data.safetensors.
    python keras_interop.py onnx model.onnx --input x.safetensors --output y.safetensors
        Checks the file against the ONNX standard and runs it on "x" with ONNX's reference implementation (package
        onnx) and, where it is installed, with the Python onnxruntime ("runtime").
    python keras_interop.py weights FILE --into model.keras --input x.safetensors --output y.safetensors
        Loads a model, sets all its weights to zero, loads the weights of FILE and predicts.

Everything printed on stdout is one JSON object.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file, save_file


def checksums(variables):
    """Enough to tell equal from different without moving the values: order, shape and two sums."""
    result = []
    for variable in variables:
        value = np.asarray(variable, dtype="float64")
        sums = {"sum": float(value.sum()), "abs": float(np.abs(value).sum())}
        result.append({"name": variable.path, "shape": list(variable.shape), **sums})
    return result


def load(path):
    """The model of a file with its whole optimizer state, and how many optimizer variables Keras restored itself.

    Keras 3's loader builds the optimizer over no variables (it passes `model._trainable_variables`, which is empty
    for Sequential and Functional models), so that only the step count and the learning rate survive and `fit` fails.
    Building it again over the right variables mends that.
    """
    model = keras.models.load_model(path)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return model, 0
    if not path.endswith(".h5"):
        return model, len(optimizer.variables)
    with h5py.File(path, "r") as file:
        if "optimizer_weights" not in file:
            return model, 0
        restored = len(optimizer.variables)
        optimizer.built = False
        optimizer.build(model.trainable_variables)
        group = file["optimizer_weights"]
        names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
        if len(names) != len(optimizer.variables):
            raise ValueError(f"{len(names)} optimizer variables in the file, {len(optimizer.variables)} expected")
        optimizer.set_weights([group[name][()] for name in names])
    return model, restored


def summary(model, restored):
    optimizer = getattr(model, "optimizer", None)
    state = None
    if optimizer is not None:
        state = {
            "class": type(optimizer).__name__,
            "config": json.loads(json.dumps(optimizer.get_config(), default=float)),
            "iterations": int(np.asarray(optimizer.iterations)),
            "variables": checksums(optimizer.variables),
            "restoredByKeras": restored,
        }
    return {
        "keras": keras.__version__,
        "class": type(model).__name__,
        "layers": len(model.layers),
        "parameters": int(model.count_params()),
        "trainable": [variable.path for variable in model.trainable_variables],
        "weights": checksums(model.weights),
        "loss": str(getattr(model, "loss", None)),
        "optimizer": state,
    }


def inspect(args):
    model, restored = load(args.model)
    if args.input:
        predictions = model.predict(load_file(args.input)["x"], verbose=0)
        save_file({"predictions": np.ascontiguousarray(predictions)}, args.output)
    return summary(model, restored)


def weights(args):
    model = keras.models.load_model(args.into)
    model.set_weights([np.zeros(value.shape, value.dtype) for value in model.get_weights()])
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    model.load_weights(args.file)
    predictions = model.predict(load_file(args.input)["x"], verbose=0)
    save_file({"predictions": np.ascontiguousarray(predictions)}, args.output)
    return summary(model, len(model.optimizer.variables))


def steps(model, x, y, first, count, batch_size):
    losses = []
    for step in range(first, first + count):
        rows = np.arange(step * batch_size, (step + 1) * batch_size) % len(x)
        # The loss of this batch alone: metrics otherwise average over calls.
        model.reset_metrics()
        losses.append(float(model.train_on_batch(x[rows], y[rows], return_dict=True)["loss"]))
    return losses


def train(args):
    model, restored = load(args.model)
    data = load_file(args.data)
    losses = steps(model, data["x"], data["y"], args.first, args.steps, args.batch_size)
    if args.output:
        values = {variable.path: np.ascontiguousarray(variable.numpy()) for variable in model.weights}
        save_file(values, args.output)
    return {"losses": losses, **summary(model, restored)}


def small_model():
    """A frozen start, a trainable end and a head: the weights of the nested group are then not in layer order."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.ZeroPadding2D(1, name="conv1_pad")(image)
    x = layers.Conv2D(4, 3, name="conv1_conv")(x)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = shortcut = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.Conv2D(4, 1, name="conv2_conv")(x)
    x = layers.BatchNormalization(name="conv2_bn")(x)
    x = layers.Add(name="conv2_add")([shortcut, x])
    x = layers.Concatenate(name="concat")([x, shortcut])
    x = layers.MaxPooling2D(2, name="pool")(x)
    backbone = keras.Model(image, x, name="backbone")
    for layer in backbone.layers:
        layer.trainable = layer.name.startswith("conv2")
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Resizing(16, 16, name="resizing"),
            layers.Rescaling(1 / 127.5, offset=-1, name="rescaling"),
            backbone,
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.BatchNormalization(name="hidden_bn"),
            layers.Dense(3, activation="softmax", name="classes"),
        ],
        name="small",
    )


OPTIMIZERS = {
    "rmsprop": lambda: keras.optimizers.RMSprop(1e-3),
    "rmsprop_centered": lambda: keras.optimizers.RMSprop(1e-3, momentum=0.9, centered=True),
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "adamw": lambda: keras.optimizers.AdamW(1e-3),
    "sgd": lambda: keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True),
}


def make(args):
    os.makedirs(args.folder, exist_ok=True)
    keras.utils.set_random_seed(7)
    model = small_model()
    model.compile(OPTIMIZERS[args.optimizer](), "sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(7)
    x = random.uniform(0, 255, (12, 8, 8, 3)).astype("float32")
    y = (np.arange(12) % 3).astype("int32")
    losses = steps(model, x, y, 0, args.steps, args.batch_size)
    # In this order: saving .h5 takes the optimizer out of what Keras 3.15 writes into .keras from then on.
    for name in ("model.keras", "model.h5"):
        model.save(os.path.join(args.folder, name))
    model.save_weights(os.path.join(args.folder, "model.weights.h5"))
    predictions = np.ascontiguousarray(model.predict(x, verbose=0))
    save_file({"x": x, "y": y, "predictions": predictions}, os.path.join(args.folder, "data.safetensors"))
    report = summary(model, len(model.optimizer.variables))
    losses += steps(model, x, y, args.steps, args.more, args.batch_size)
    model.save(os.path.join(args.folder, "after.h5"))
    return {"losses": losses, **report}


def long(args):
    os.makedirs(args.folder, exist_ok=True)
    keras.utils.set_random_seed(7)
    parts = [layers.Activation("linear", name=f"layer_{i}_{'x' * 700}") for i in range(100)]
    model = keras.Sequential([keras.Input((4,)), *parts, layers.Dense(3, name="classes")], name="long")
    x = np.random.default_rng(7).normal(size=(2, 4)).astype("float32")
    model.save(os.path.join(args.folder, "long.h5"))
    predictions = np.ascontiguousarray(model.predict(x, verbose=0))
    save_file({"x": x, "predictions": predictions}, os.path.join(args.folder, "data.safetensors"))
    return summary(model, 0)


def run_onnx(args):
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(args.model)
    onnx.checker.check_model(model, full_check=True)
    feeds = {"image": load_file(args.input)["x"]}
    results = {"predictions": np.ascontiguousarray(ReferenceEvaluator(model).run(None, feeds)[0])}
    try:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        results["runtime"] = onnxruntime.InferenceSession(args.model).run(None, feeds)[0]
    except ImportError:
        pass
    save_file(results, args.output)
    return {"ran": sorted(results)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("inspect")
    command.add_argument("model")
    command.add_argument("--input")
    command.add_argument("--output")
    command.set_defaults(run=inspect)
    command = commands.add_parser("train")
    command.add_argument("model")
    command.add_argument("--data", required=True)
    command.add_argument("--first", type=int, default=0, help="batch to start with")
    command.add_argument("--steps", type=int, default=3)
    command.add_argument("--batch-size", type=int, default=4)
    command.add_argument("--output")
    command.set_defaults(run=train)
    command = commands.add_parser("weights")
    command.add_argument("file")
    command.add_argument("--into", required=True)
    command.add_argument("--input", required=True)
    command.add_argument("--output", required=True)
    command.set_defaults(run=weights)
    command = commands.add_parser("long")
    command.add_argument("folder")
    command.set_defaults(run=long)
    command = commands.add_parser("onnx")
    command.add_argument("model")
    command.add_argument("--input", required=True)
    command.add_argument("--output", required=True)
    command.set_defaults(run=run_onnx)
    command = commands.add_parser("make")
    command.add_argument("folder")
    command.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="rmsprop")
    command.add_argument("--steps", type=int, default=3)
    command.add_argument("--more", type=int, default=2)
    command.add_argument("--batch-size", type=int, default=4)
    command.set_defaults(run=make)
    args = parser.parse_args()
    # Keras writes warnings and progress to stdout; the JSON must be alone there.
    stdout, sys.stdout = sys.stdout, sys.stderr
    report = args.run(args)
    json.dump(report, stdout)


if __name__ == "__main__":
    main()
