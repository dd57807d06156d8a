"""applications.*: every application layer by layer, and its features with weights that a rule fills."""

import keras
import numpy as np
from keras import applications as A

from .common import Golden, generator
from .resnet50 import RULE, check, hashed

# Keras's function, its module (with its preprocessing), and the size of the pictures: odd and even, not square.
APPLICATIONS = {
    "vgg16": (A.VGG16, A.vgg16, (48, 61)),
    "vgg19": (A.VGG19, A.vgg19, (48, 61)),
    "resnet50": (A.ResNet50, A.resnet, (48, 61)),
    "resnet101": (A.ResNet101, A.resnet, (48, 61)),
    "resnet152": (A.ResNet152, A.resnet, (48, 61)),
    "resnet50v2": (A.ResNet50V2, A.resnet_v2, (48, 61)),
    "inception_v3": (A.InceptionV3, A.inception_v3, (107, 136)),
    "densenet121": (A.DenseNet121, A.densenet, (48, 61)),
    "densenet169": (A.DenseNet169, A.densenet, (48, 61)),
    "densenet201": (A.DenseNet201, A.densenet, (48, 61)),
    "mobilenet_v2": (A.MobileNetV2, A.mobilenet_v2, (48, 61)),
    "xception": (A.Xception, A.xception, (71, 96)),
    "efficientnetb0": (A.EfficientNetB0, A.efficientnet, (48, 61)),
    "convnext_tiny": (A.ConvNeXtTiny, A.convnext, (48, 61)),
}
CAFFE = ("vgg16", "vgg19", "resnet50", "resnet101", "resnet152")
PERIOD = 65521
APPLICATION_RULE = {
    **{key: RULE[key] for key in ("index", "hash", "rounding")},
    "period": f"u of position i is that of i modulo {PERIOD}",
    "value": {
        "kernel, depthwise_kernel, pointwise_kernel": "gain * sqrt(6 / fan_in) * u, fan_in = product of all dimensions "
        "but the last, height * width if the last is 1; for k = 0 also / 64 where pixels reach 150 (caffe)",
        "bias, beta, mean, moving_mean": "0.1 * u",
        "gamma": "1 + 0.1 * u",
        "moving_variance, variance": "1 + 0.5 * abs(u)",
        "variable, variable_1, ... (LayerScale)": "0.5 + 0.1 * u",
        "count": "7",
    },
    "gain": "1.2 for efficientnetb0, whose activations shrink otherwise, else 1",
}
PICTURES = [
    "two pictures, uint8, rows y, columns x, channels c",
    "floor(128 * (1 + u)) of position ((y // 8) * 20 + x // 8) * 3 + c of weight 9999",
    "(y * (c + 1) + x * (3 - c)) % 256",
]


def gain_of(name):
    return 1.2 if name == "efficientnetb0" else 1


def rule_value(application, k, name, shape):
    count = int(np.prod(shape))
    u = np.resize(hashed(k, min(count, PERIOD)), count).reshape(shape)
    if name.endswith("kernel"):
        fan_in = shape[0] * shape[1] if shape[-1] == 1 else np.prod(shape[:-1])
        value = gain_of(application) * np.sqrt(6 / fan_in) * u / (64 if k == 0 and application in CAFFE else 1)
    elif name in ("bias", "beta", "mean", "moving_mean"):
        value = 0.1 * u
    elif name == "gamma":
        value = 1 + 0.1 * u
    elif name in ("moving_variance", "variance"):
        value = 1 + 0.5 * np.abs(u)
    elif name.startswith("variable"):  # Keras counts these names on: variable, variable_1, ...
        value = 0.5 + 0.1 * u
    elif name == "count":
        return np.int64(7)
    else:
        raise ValueError(f"no rule for {name}")
    return value.astype("float32")


def fill(application, model):
    for k, weight in enumerate(model.weights):
        weight.assign(rule_value(application, k, weight.name, weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # takes over the weights, as loading a file does


def pictures(height, width):
    """Two pictures that differ much, by the rule PICTURES: coloured blocks, and slopes."""
    rows, columns, channels = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    u = hashed(9999, 20 * 20 * 3)
    blocks = np.floor(128 * (1 + u[((rows // 8) * 20 + columns // 8) * 3 + channels]))
    slopes = (rows * (channels + 1) + columns * (3 - channels)) % 256
    return np.stack([blocks, slopes]).astype("uint8")


def leaf_weights(layer):
    return [[weight.name, *weight.shape] for weight in layer.weights]


def architecture(model):
    """[name, class, output shape without the batch, weights in order: [name, dimensions...]]"""
    return [[x.name, type(x).__name__, list(x.output.shape)[1:], leaf_weights(x)] for x in model.layers]


def write(folder):
    golden = Golden("applications", rule=APPLICATION_RULE, pictures=PICTURES, applications={})
    for name, (make, module, (height, width)) in APPLICATIONS.items():
        keras.backend.clear_session()
        model = make(weights=None, include_top=False, input_shape=(height, width, 3))
        fill(name, model)
        images = pictures(height, width)
        prepared = module.preprocess_input(images.astype("float32"))
        golden.put(f"{name}/preprocessed_corner", np.array(prepared)[:, :2, :2])
        pooled = model(prepared, training=False).numpy().mean((1, 2), dtype="float64").astype("float32")
        check(name, pooled)
        golden.put(f"{name}/features", pooled)
        entry = {"name": model.name, "size": [height, width], "layers": architecture(model)}
        keras.backend.clear_session()
        top = make(weights=None)
        # What the classifier adds: the layers that follow the last common one.
        common = len(model.layers) - 1
        entry["top"] = {"parameters": top.count_params(), "layers": architecture(top)[common:]}
        golden.json["applications"][name] = entry
    golden.write(folder, packed=True)
