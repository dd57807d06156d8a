"""augmentation.*: what layers that change pictures at random do, given their random numbers.

Keras's generators are replaced by lists of numbers that the files keep, in the order in which a layer asks: uniform
numbers in [0, 1) before they are stretched to a range, normal and beta numbers as they are, permutations.
"""

import keras
import numpy as np
from keras import layers as L
from keras.src.backend.tensorflow import random as keras_random

from .common import Golden, generator

SHAPE = (8, 10, 3)
LABELS = np.eye(4, dtype="float32")[[2, 0, 3]]


def cases():
    """Yields (name, layer class, arguments)."""
    yield "flip_horizontal", L.RandomFlip, dict(mode="horizontal")
    yield "flip_vertical", L.RandomFlip, dict(mode="vertical")
    yield "flip_both", L.RandomFlip, {}
    yield "crop", L.RandomCrop, dict(height=5, width=7)
    yield "crop_one_axis", L.RandomCrop, dict(height=8, width=6)
    yield "crop_larger", L.RandomCrop, dict(height=12, width=6)
    yield "center_crop", L.CenterCrop, dict(height=5, width=7)
    yield "center_crop_larger", L.CenterCrop, dict(height=12, width=6)
    for fill_mode in ("reflect", "wrap", "constant", "nearest"):
        for interpolation in ("bilinear", "nearest"):
            read = dict(fill_mode=fill_mode, interpolation=interpolation, fill_value=30.0)
            name = f"{fill_mode}_{interpolation}"
            yield f"translation_{name}", L.RandomTranslation, dict(height_factor=0.9, width_factor=(-1, 0.8), **read)
            yield f"rotation_{name}", L.RandomRotation, dict(factor=0.5, **read)
            yield f"zoom_{name}", L.RandomZoom, dict(height_factor=(0.3, 1.0), width_factor=0.5, **read)
    yield "translation_default", L.RandomTranslation, dict(height_factor=0.2, width_factor=0.2)
    yield "rotation_default", L.RandomRotation, dict(factor=(0.02, 0.1))
    yield "zoom_default", L.RandomZoom, dict(height_factor=0.4)
    yield "zoom_in", L.RandomZoom, dict(height_factor=(-0.8, -0.5))
    yield "contrast", L.RandomContrast, dict(factor=0.7)
    yield "contrast_range", L.RandomContrast, dict(factor=(0.6, 0.9), value_range=(50, 200))
    yield "brightness", L.RandomBrightness, dict(factor=0.6)
    yield "brightness_range", L.RandomBrightness, dict(factor=(0.2, 0.3), value_range=(20, 220))
    yield "erasing_noise", L.RandomErasing, dict(factor=(0.5, 1.0))
    yield "erasing_constant", L.RandomErasing, dict(factor=(0.9, 1.0), scale=(0.1, 0.9), fill_value=127.5)
    yield "erasing_channels", L.RandomErasing, dict(factor=(0.9, 1.0), fill_value=[10.0, 300.0, 90.0])
    yield "shear", L.RandomShear, dict(x_factor=0.5, y_factor=(0.2, 0.6))
    yield "shear_constant", L.RandomShear, dict(x_factor=0.5, fill_mode="constant", fill_value=200.0)
    yield "color_degeneration", L.RandomColorDegeneration, dict(factor=(0.2, 0.9))
    yield "color_degeneration_range", L.RandomColorDegeneration, dict(factor=0.8, value_range=(20, 200))
    yield "grayscale", L.RandomGrayscale, {}
    yield "sharpness", L.RandomSharpness, dict(factor=1.0)
    yield "sharpness_range", L.RandomSharpness, dict(factor=(0.8, 1.0), value_range=(40, 190))
    yield "posterization", L.RandomPosterization, dict(factor=6)
    yield "posterization_fixed", L.RandomPosterization, dict(factor=(3, 3))
    yield "posterization_range", L.RandomPosterization, dict(factor=4, value_range=(-100, 300))
    yield "solarization", L.Solarization, {}
    yield "solarization_factors", L.Solarization, dict(addition_factor=0.3, threshold_factor=(0.2, 0.8))
    yield "solarization_range", L.Solarization, dict(threshold_factor=0.7, value_range=(-50, 260))
    yield "auto_contrast", L.AutoContrast, {}
    yield "auto_contrast_range", L.AutoContrast, dict(value_range=(-100, 300))
    yield "equalization", L.Equalization, {}
    yield "equalization_bins", L.Equalization, dict(bins=50)
    yield "equalization_range", L.Equalization, dict(value_range=(-100, 300))
    for i in range(6):  # which operations are drawn depends on the name
        yield f"rand_augment_{i}", L.RandAugment, {} if i < 4 else dict(num_ops=3, factor=(0.2, 0.9))
    yield "mix_up", L.MixUp, {}
    yield "cut_mix", L.CutMix, dict(factor=(0.5, 1.0))


class Draws:
    """Stands in for Keras's generators; keeps what it gave."""

    def __init__(self, name):
        self.rng = generator(name)
        self.given = []

    def keep(self, kind, values):
        self.given.append((kind, values))
        return values

    def uniform(self, shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        # Half a step of 1/64: never on the edge of a pixel or of a decision.
        values = self.keep("uniform", ((self.rng.integers(0, 64, tuple(shape)) + 0.5) / 64).astype("float32"))
        return keras.ops.convert_to_tensor(values * np.float32(maxval - minval) + np.float32(minval))

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
        values = self.keep("normal", self.rng.standard_normal(tuple(shape)).astype("float32"))
        return keras.ops.convert_to_tensor(values)

    def beta(self, shape, alpha, beta, dtype=None, seed=None):
        if self.given and self.given[-1][1].shape == ():
            self.given.pop()  # alpha itself was drawn; Graft draws it together with these
        return keras.ops.convert_to_tensor(self.keep("beta", self.rng.random(tuple(shape)).astype("float32")))

    def shuffle(self, x, axis=0, seed=None):
        order = self.rng.permutation(x.shape[0])
        while (order == np.arange(len(order))).any():
            order = self.rng.permutation(x.shape[0])
        return keras.ops.convert_to_tensor(self.keep("permutation", order.astype("int32")))

    def randint(self, shape, minval, maxval, dtype="int32", seed=None):
        values = self.uniform(shape, float(minval), float(maxval))
        return keras.ops.cast(keras.ops.floor(values), dtype)


def add_case(golden, name, cls, arguments, images):
    draws = Draws(f"augmentation/{name}")
    layer = cls(name=name, **arguments)
    mixes = cls in (L.MixUp, L.CutMix)
    pictures = images if mixes else images[:2]
    originals = {function: getattr(keras_random, function) for function in ("uniform", "normal", "beta", "shuffle", "randint")}
    for function in originals:
        setattr(keras_random, function, getattr(draws, function))
    try:
        data = {"images": pictures, "labels": LABELS} if mixes else pictures
        output = layer(data, training=True)
    finally:
        for function, original in originals.items():
            setattr(keras_random, function, original)
    if mixes:
        golden.put(f"{name}/labels", output["labels"].numpy())
        output = output["images"]
    golden.put(f"{name}/output", output.numpy())
    for index, (_, values) in enumerate(draws.given):
        golden.put(f"{name}/noise/{index}", values)
    golden.json["cases"].append(
        {
            "name": name,
            "layer": cls.__name__,
            "config": layer.get_config(),
            "batch": len(pictures),
            "noise": [kind for kind, _ in draws.given],
            "mixes": mixes,
        }
    )


def write(folder):
    golden = Golden("augmentation", cases=[])
    rng = generator("augmentation/images")
    # Smooth shades with some noise: interpolation shows, and so does every pixel.
    y, x, c = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    shades = [128 + 90 * np.sin(0.5 * x + 0.3 * y * (i + 1) + 2 * c + i) for i in range(3)]
    images = np.clip(np.stack(shades) + rng.integers(-20, 21, (3, *SHAPE)), 0, 255).round().astype("float32")
    golden.put("images", images)
    golden.put("labels", LABELS)
    for case in cases():
        add_case(golden, *case, images)
    golden.write(folder)
