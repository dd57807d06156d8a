"""Model files as Keras 3 and Keras 2 (tf_keras) write them, for tests that read them without Python.

    venv/bin/pip install keras==3.15.1 tensorflow-cpu==2.21.0 tf_keras==2.21.0 h5py safetensors
    venv/bin/python make_formats.py keras       # writes formats/keras3*
    venv/bin/python make_formats.py tf_keras    # writes formats/keras2*

Each model is a functional one with a nested functional one, whose first convolution is frozen, and a nested sequential
one. It is trained for two steps and saved in every format of its Keras; formats/<stem>.safetensors holds the pictures
"x" and labels "y", "predictions" of the saved model, and, after a third step on the same batch, "loss" and every weight
as "after/<layer>/<weight>".
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
from safetensors.numpy import save_file

if sys.argv[1] == "keras":
    import keras

    stem, optimizers = "keras3", {"": lambda: keras.optimizers.Adam(0.01)}
else:
    import tf_keras as keras

    stem = "keras2"
    optimizers = {
        "": lambda: keras.optimizers.Adam(0.01),
        "_legacy": lambda: keras.optimizers.legacy.Adam(0.01),
    }

layers = keras.layers
FOLDER = Path(__file__).parent / "formats"


def model():
    picture = keras.Input((6, 6, 3), name="picture")
    x = layers.Conv2D(4, 3, padding="same", name="inner_a", kernel_initializer="he_normal")(picture)
    x = layers.BatchNormalization(name="inner_bn")(x)
    y = layers.Conv2D(4, 3, padding="same", name="inner_b")(x)
    block = keras.Model(picture, layers.Add(name="inner_add")([x, y]), name="block")
    block.get_layer("inner_a").trainable = False
    tail = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="hidden", kernel_regularizer="l2"), layers.ReLU()], name="tail")
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    x = block(x)
    x = layers.Conv2D(4, 3, activation="relu", name="outer")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(0.0, name="dropout")(x)
    x = tail(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="classes")(x), name="nested")


def short(variable):
    """layer/weight, whichever Keras named it."""
    return "/".join(getattr(variable, "path", variable.name).split(":")[0].split("/")[-2:])


def step(net, x, y):
    return net.train_on_batch(x, y, return_dict=True)["loss"]


def main():
    FOLDER.mkdir(exist_ok=True)
    for suffix, optimizer in optimizers.items():
        keras.utils.set_random_seed(3)
        net = model()
        net.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
        random = np.random.default_rng(3)
        x = random.uniform(0, 255, (6, 6, 6, 3)).astype("float32")
        y = (np.arange(6) % 3).astype("int32")
        for _ in range(2):
            step(net, x, y)
        path = str(FOLDER / f"{stem}{suffix}")
        if suffix == "":
            net.save(f"{path}.keras")
        if stem == "keras3":
            net.save_weights(f"{path}.weights.h5")
        if stem == "keras2":
            net.save(f"{path}.h5")
            if suffix == "":
                net.save_weights(f"{path}_weights.h5", save_format="h5")
        arrays = {"x": x, "y": y, "predictions": np.ascontiguousarray(net.predict(x, verbose=0))}
        net.reset_metrics()
        arrays["loss"] = np.array(step(net, x, y), dtype="float32")
        for variable in net.weights:
            arrays[f"after/{short(variable)}"] = np.ascontiguousarray(variable.numpy())
        save_file(arrays, f"{path}.safetensors", {"keras": keras.__version__})


main()
