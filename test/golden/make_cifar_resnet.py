"""What Keras makes of CifarResNet with the weights of the package: writes cifar_resnet.json. Needs keras, safetensors."""

import json
import pathlib

import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file

here = pathlib.Path(__file__).parent
weights = load_file(here / "../../assets/cifar_resnet.cifar10.safetensors")


def unit(x, filters, name, halves=False):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    if halves:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def block(x, filters, name):
    y = unit(unit(x, filters, f"{name}_block1"), filters, f"{name}_block2")
    return layers.Add(name=f"{name}_add")([x, y])


image = keras.Input((32, 32, 3))
x = unit(image, 32, "stage1")
x = block(unit(x, 64, "stage2", halves=True), 64, "stage2")
x = block(unit(x, 128, "stage3", halves=True), 128, "stage3")
x = unit(x, 192, "stage4", halves=True)
features = layers.GlobalAveragePooling2D(name="avg_pool")(x)
model = keras.Model(image, [features, layers.Dense(10, activation="softmax", name="predictions")(features)])

for layer in model.layers:
    if layer.weights:
        layer.set_weights([weights[f"{layer.name}/{weight.name}"].astype(np.float32) for weight in layer.weights])

# The pictures of the test: pixel = (row * (channel + 1) + column * (3 - channel) + 40 * picture) % 256.
picture, row, column, channel = np.meshgrid(np.arange(2), np.arange(32), np.arange(32), np.arange(3), indexing="ij")
pictures = (row * (channel + 1) + column * (3 - channel) + 40 * picture) % 256
outputs, probabilities = model.predict(pictures / 127.5 - 1, verbose=0)
golden = {
    "keras": keras.__version__,
    "parameters": model.count_params(),
    "layers": [[layer.name, type(layer).__name__, *layer.output.shape[1:]] for layer in model.layers[1:]],
    "features": [[float(f"{value:.7g}") for value in line[:16]] for line in outputs],
    "probabilities": [[float(f"{value:.7g}") for value in line] for line in probabilities],
}
(here / "cifar_resnet.json").write_text(json.dumps(golden) + "\n")
