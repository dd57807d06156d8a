"""defaults.json: what Keras means when an argument is left out. summary_*.txt: what model.summary() prints."""

import inspect

import keras
from keras import layers as L
from keras.src.applications.convnext import LayerScale, StochasticDepth

from .common import write_json
from .training import small_model

LAYERS = [
    (L.Conv2D, dict(filters=8, kernel_size=3)),
    (L.DepthwiseConv2D, dict(kernel_size=3)),
    (L.SeparableConv2D, dict(filters=8, kernel_size=3)),
    (L.Dense, dict(units=8)),
    (L.BatchNormalization, {}),
    (L.LayerNormalization, {}),
    (L.Activation, dict(activation="relu")),
    (L.ReLU, {}),
    (L.Dropout, dict(rate=0.5)),
    (L.Flatten, {}),
    (L.GlobalAveragePooling2D, {}),
    (L.GlobalMaxPooling2D, {}),
    (L.MaxPooling2D, {}),
    (L.AveragePooling2D, dict(pool_size=2)),
    (L.ZeroPadding2D, {}),
    (L.UpSampling2D, {}),
    (L.Resizing, dict(height=224, width=224)),
    (L.Rescaling, dict(scale=1 / 255)),
    (L.Normalization, {}),
    (L.Add, {}),
    (L.Multiply, {}),
    (L.Concatenate, {}),
    (L.Reshape, dict(target_shape=(2, 3))),
    (L.InputLayer, dict(shape=(32, 32, 3))),
    (LayerScale, dict(init_values=1e-6, projection_dim=8)),
    (StochasticDepth, dict(drop_path_rate=0.1)),
    (L.RandomFlip, {}),
    (L.RandomTranslation, dict(height_factor=0.1, width_factor=0.1)),
    (L.RandomRotation, dict(factor=0.1)),
    (L.RandomZoom, dict(height_factor=0.1)),
    (L.RandomCrop, dict(height=24, width=24, seed=0)),  # without a seed its config holds a random one
    (L.CenterCrop, dict(height=24, width=24)),
    (L.RandomContrast, dict(factor=0.2)),
    (L.RandomBrightness, dict(factor=0.2)),
    (L.RandomErasing, {}),
    (L.RandomShear, dict(x_factor=(0.1, 0.2), y_factor=(0.0, 0.2))),
    (L.RandomColorDegeneration, dict(factor=0.2)),
    (L.RandomGrayscale, {}),
    (L.RandomSharpness, dict(factor=0.2)),
    (L.RandomPosterization, dict(factor=4)),
    (L.Solarization, {}),
    (L.AutoContrast, {}),
    (L.Equalization, {}),
    (L.RandAugment, {}),
    (L.MixUp, {}),
    (L.CutMix, {}),
]
OPTIMIZERS = ["SGD", "RMSprop", "Adam", "AdamW"]
SCHEDULES = [
    ("CosineDecay", dict(initial_learning_rate=0.1, decay_steps=10)),
    ("ExponentialDecay", dict(initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5)),
    ("PiecewiseConstantDecay", dict(boundaries=[1], values=[0.1, 0.01])),
]
INITIALIZERS = ["Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"]
INITIALIZERS += ["GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal"]
REGULARIZERS = ["L1", "L2", "L1L2"]
LOSSES = ["CategoricalCrossentropy", "SparseCategoricalCrossentropy"]
METRICS = ["CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy"]
METRICS += ["SparseTopKCategoricalAccuracy"]
CALLBACKS = ["ModelCheckpoint", "EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler", "CSVLogger"]


def configs(module, names):
    return {name: getattr(module, name)().get_config() for name in names}


def signature(function):
    """Parameters with their defaults, in order; a parameter without one is {"required": true}."""
    parameters = list(inspect.signature(function).parameters.values())
    return {
        p.name: {"required": True} if p.default is p.empty else {"default": p.default}
        for p in parameters
        if p.name != "self" and p.kind is not p.VAR_KEYWORD
    }


def layer_configs():
    found = {}
    for cls, arguments in LAYERS:
        keras.backend.clear_session()
        found[cls.__name__] = {"arguments": arguments, "config": cls(**arguments).get_config()}
    return found


def nested_model():
    """The reference job: everything frozen but conv5, and a small head on the flattened features."""
    keras.backend.clear_session()
    base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(224, 224, 3))
    for layer in base.layers:
        layer.trainable = layer.name.startswith("conv5")
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            L.Resizing(224, 224),
            base,
            L.Flatten(),
            L.BatchNormalization(),
            L.Dense(128, activation="relu"),
            L.Dropout(0.5),
            L.BatchNormalization(),
            L.Dense(64, activation="relu"),
            L.Dropout(0.5),
            L.BatchNormalization(),
            L.Dense(10, activation="softmax"),
        ]
    )


def write_summary(path, model):
    lines = []
    model.summary(line_length=98, print_fn=lambda line, line_break=True: lines.append(line))
    path.write_text("\n".join(lines) + "\n")


def write(folder):
    schedules = keras.optimizers.schedules
    write_json(
        folder / "defaults.json",
        {
            "keras": keras.__version__,
            "layers": layer_configs(),
            "optimizers": configs(keras.optimizers, OPTIMIZERS),
            "schedules": {name: getattr(schedules, name)(**a).get_config() for name, a in SCHEDULES},
            "initializers": configs(keras.initializers, INITIALIZERS),
            "regularizers": configs(keras.regularizers, REGULARIZERS),
            "losses": configs(keras.losses, LOSSES),
            "metrics": configs(keras.metrics, METRICS),
            "callbacks": {name: signature(getattr(keras.callbacks, name).__init__) for name in CALLBACKS},
            "calls": {
                name: signature(getattr(keras.Model, name))
                for name in ("compile", "fit", "evaluate", "predict", "summary", "train_on_batch")
            },
        },
    )
    write_summary(folder / "summary_small.txt", small_model())
    write_summary(folder / "summary_nested.txt", nested_model())
