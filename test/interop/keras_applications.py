"""Keras's applications beside Graft's: run by applications.test.ts in this folder.

    python keras_applications.py make FOLDER NAME...
        For each application without its classifier: random weights in NAME.h5, in the legacy format of Keras's published
        weights, pictures and predictions in NAME.safetensors. With the suffix ":top" the classifier too.
    python keras_applications.py predict MODEL.h5 PICTURES.safetensors OUTPUT.safetensors
        Loads a whole model (safe mode on) and predicts "x".
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
from keras import applications as A
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import load_file, save_file

MAKE = {
    "vgg16": A.VGG16,
    "vgg19": A.VGG19,
    "resnet50": A.ResNet50,
    "resnet101": A.ResNet101,
    "resnet152": A.ResNet152,
    "resnet50v2": A.ResNet50V2,
    "inception_v3": A.InceptionV3,
    "densenet121": A.DenseNet121,
    "densenet169": A.DenseNet169,
    "densenet201": A.DenseNet201,
    "mobilenet_v2": A.MobileNetV2,
    "xception": A.Xception,
    "efficientnetb0": A.EfficientNetB0,
    "convnext_tiny": A.ConvNeXtTiny,
}
SIZES = {"inception_v3": 75, "xception": 71}


def randomize(model, random):
    """Values that no initializer gives, so that a weight in the wrong place shows; factors keep features alive."""
    for weight in model.weights:
        name = weight.name
        if np.issubdtype(weight.numpy().dtype, np.integer):
            weight.assign(3)
        elif name.endswith("kernel"):
            weight.assign(weight.numpy() * 1.2)
        elif name.startswith("variable"):
            weight.assign(random.uniform(0.2, 0.6, weight.shape))
        elif "variance" in name or name == "gamma":
            weight.assign(random.uniform(0.8, 1.4, weight.shape))
        else:
            weight.assign(random.uniform(-0.2, 0.2, weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def make(folder, names):
    for entry in names:
        name, _, top = entry.partition(":")
        keras.utils.set_random_seed(5)
        size = SIZES.get(name, 32)
        # Not a fresh session: automatic names go on from model to model, as they do in published files.
        model = MAKE[name](weights=None, include_top=top == "top", input_shape=(size, size, 3))
        random = np.random.default_rng(5)
        randomize(model, random)
        stem = os.path.join(folder, entry.replace(":", "-"))
        with h5py.File(f"{stem}.h5", "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
        high = 255 if name in ("efficientnetb0", "convnext_tiny") else 1
        x = random.uniform(0, high, (2, size, size, 3)).astype("float32")
        x[1] = x[1] * 0.5  # darker, so that the two differ
        predictions = np.ascontiguousarray(model(x, training=False).numpy())
        save_file({"x": x, "predictions": predictions}, f"{stem}.safetensors")


def predict(model, pictures, output):
    loaded = keras.models.load_model(model)
    for layer in loaded._flatten_layers():
        # Keras 3.15 forgets this for nested models of any .h5, its own included; its .keras files are complete.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    save_file({"predictions": np.ascontiguousarray(loaded(load_file(pictures)["x"], training=False).numpy())}, output)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3:])
    else:
        predict(*sys.argv[2:])
