"""resnet50.*: the architecture layer by layer, and its features with weights that a rule fills.

resnet50_mirror.*: pooled features of four CIFAR-10 pictures with the ImageNet weights (needs the mirror folder).
"""

import tarfile

import keras
import numpy as np
import safetensors.numpy

from .common import Golden, generator

TAPS = ["conv1_relu", "pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"]
RULE = {
    "index": "k: position of the weight in model.weights (0-based); i: position in the flat array (row-major)",
    "hash": [
        "all arithmetic modulo 2^32 (Math.imul, >>> 0)",
        "h = i * 0x9E3779B1 + (k + 1) * 0x85EBCA77",
        "h ^= h >>> 16; h *= 0x85EBCA6B; h ^= h >>> 13; h *= 0xC2B2AE35; h ^= h >>> 16",
        "u = h / 2^31 - 1    (float64, in [-1, 1))",
    ],
    "value": {
        "kernel": "sqrt(6 / fan_in) * u, fan_in = product of all dimensions but the last; for k = 0 also / 64",
        "bias": "0.1 * u",
        "gamma": "1 + 0.1 * u",
        "beta": "0.1 * u",
        "moving_mean": "0.1 * u",
        "moving_variance": "1 + 0.5 * abs(u)",
    },
    "rounding": "computed in float64, rounded to float32 once at the end",
}


def hashed(k, count):
    """u of the rule above."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1)
    h += np.uint32((k + 1) * 0x85EBCA77 & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h.astype(np.float64) / 2**31 - 1


def rule_value(k, name, shape):
    u = hashed(k, int(np.prod(shape))).reshape(shape)
    value = {
        "kernel": lambda: np.sqrt(6 / np.prod(shape[:-1])) * u / (64 if k == 0 else 1),  # pixels reach 150
        "bias": lambda: 0.1 * u,
        "gamma": lambda: 1 + 0.1 * u,
        "beta": lambda: 0.1 * u,
        "moving_mean": lambda: 0.1 * u,
        "moving_variance": lambda: 1 + 0.5 * np.abs(u),
    }[name]()
    return value.astype("float32")


def pictures():
    """Two pictures that differ in more than noise: coloured blocks, and a slope with noise."""
    rng = generator("resnet50/pictures")
    blocks = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))
    rows, columns, channels = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    slope = rows * (channels + 1) + columns * (3 - channels) * 0.5 + rng.integers(-30, 31, (64, 64, 3))
    return np.clip(np.stack([blocks, slope]), 0, 255).astype("uint8")


def architecture(model):
    return {
        "total_params": model.count_params(),
        "trainable_params": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        "non_trainable_params": int(sum(np.prod(w.shape) for w in model.non_trainable_weights)),
        "layers": [
            {
                "name": layer.name,
                "class": type(layer).__name__,
                "output_shape": list(layer.output.shape),
                "params": layer.count_params(),
            }
            for layer in model.layers
        ],
    }


def check(name, features):
    """The golden must be able to tell pictures and channels apart."""
    spread = features.std(-1).min()
    apart = np.abs(features[0] - features[1]).mean() / np.abs(features).mean()
    distinct = len(np.unique(features[0])) / features.shape[1]
    print(
        f"  {name}: mean {features.mean():.4g}, spread over channels {spread:.3g}, zero {np.mean(features == 0):.1%},"
        f" pictures apart {apart:.1%}, distinct channels {distinct:.1%}"
    )
    if not np.isfinite(features).all() or spread == 0 or apart < 0.02 or distinct < 0.5:
        raise ValueError(f"{name}: features are degenerate")


def write(folder):
    keras.backend.clear_session()
    golden = Golden("resnet50", rule=RULE, taps=TAPS)
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3))
    weights = []
    for k, weight in enumerate(model.weights):
        value = rule_value(k, weight.name, weight.shape)
        weight.assign(value)
        weights.append({"path": weight.path, "shape": list(weight.shape), "first": value.ravel()[:3].tolist()})
    golden.json["weights"] = weights

    images = pictures()
    golden.put("images", images)
    prepared = keras.applications.resnet50.preprocess_input(images.astype("float32"))
    golden.put("preprocessed_corner", prepared[:, :2, :2])
    tapped = keras.Model(model.input, [model.get_layer(name).output for name in TAPS])
    for name, output in zip(TAPS, tapped(prepared, training=False)):
        pooled = output.numpy().mean((1, 2), dtype="float64").astype("float32")
        check(name, pooled)
        golden.put(f"pooled/{name}", pooled)
    golden.put("conv5_block3_out", output.numpy())

    golden.json["no_top_64"] = architecture(model)
    golden.json["no_top_224"] = architecture(
        keras.applications.ResNet50(weights=None, include_top=False, input_shape=(224, 224, 3))
    )
    golden.json["top_224"] = architecture(keras.applications.ResNet50(weights=None))
    golden.write(folder, packed=True)


def cifar10_test_images(archive, count):
    with tarfile.open(archive) as tar:
        member = next(m for m in tar if m.name.endswith("test_batch.bin"))
        records = np.frombuffer(tar.extractfile(member).read(count * 3073), "uint8").reshape(count, 3073)
    return records[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)


def write_mirror(folder, mirror, reference):
    keras.backend.clear_session()
    taps = ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out"]
    whole = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(96, 96, 3))
    model = keras.Model(whole.input, [whole.get_layer(name).output for name in taps])
    stored = safetensors.numpy.load_file(mirror / "resnet50-imagenet-conv1-to-conv4.f16.safetensors")
    for weight in model.weights:
        weight.assign(stored.pop(weight.path).astype("float32"))
    if stored:
        raise ValueError(f"mirror tensors without a place in the model: {sorted(stored)}")

    images = cifar10_test_images(mirror / "cifar-10-binary.tar.gz", 4)
    enlarged = keras.layers.Resizing(96, 96, interpolation="bilinear")(images.astype("float32"))
    prepared = keras.applications.resnet50.preprocess_input(np.array(enlarged))
    golden = Golden("resnet50_mirror", taps=taps, images="CIFAR-10 test 0..3", size=96)
    for name, output in zip(taps, model(prepared, training=False)):
        golden.put(f"pooled/{name}", output.numpy().mean((1, 2), dtype="float64").astype("float32"))
    golden.write(folder, packed=True)

    if reference and reference.is_dir():
        expected = np.fromfile(reference / "resnet50-conv4-pooled-96px-16x1024.f32", "<f4").reshape(16, 1024)[:4]
        difference = np.abs(golden.arrays["pooled/conv4_block6_out"] - expected)
        print(f"resnet50_mirror: beside the reference, largest difference {difference.max():.3g},")
        print(f"  mean {difference.mean():.3g}, of features up to {expected.max():.3g} (mean {expected.mean():.3g})")
