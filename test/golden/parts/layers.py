"""layers.*: outputs of single layers, and gradients of sum(output * probe) by every input and trainable weight."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

from .common import Golden, describe, generator, hold_off, normal, spread

# The points where the derivative jumps; inputs keep away from them.
KINKS = {
    "relu": [0],
    "relu6": [0, 6],
    "leaky_relu": [0],
    "elu": [0],
    "selu": [0],
    "hard_sigmoid": [-3, 3],
    "hard_swish": [-3, 3],
}
IMAGE = (2, 7, 6, 4)
EVEN = (2, 8, 6, 3)
ODD = (2, 7, 5, 3)
NESTED_BN = dict(epsilon=1.001e-5, momentum=0.9)


def cases():
    """Yields (name, layer class, arguments, input shapes or arrays, training)."""
    yield from convolutions()
    yield from dense_and_normalization()
    yield from activations()
    yield from pooling()
    yield from shaping()


def convolutions():
    conv = [
        ("valid_3x3", IMAGE, dict(filters=5, kernel_size=3)),
        ("same_3x3", IMAGE, dict(filters=5, kernel_size=3, padding="same")),
        ("same_3x3_relu", IMAGE, dict(filters=5, kernel_size=3, padding="same", activation="relu")),
        ("valid_1x1", IMAGE, dict(filters=6, kernel_size=1)),
        ("valid_1x1_stride2_even", EVEN, dict(filters=4, kernel_size=1, strides=2)),
        ("valid_1x1_stride2_odd", ODD, dict(filters=4, kernel_size=1, strides=2)),
        ("same_1x1_stride2_even", EVEN, dict(filters=4, kernel_size=1, strides=2, padding="same")),
        ("valid_5x4", IMAGE, dict(filters=3, kernel_size=(5, 4))),
        ("same_5x4", IMAGE, dict(filters=3, kernel_size=(5, 4), padding="same")),
        ("same_5x4_stride2", IMAGE, dict(filters=3, kernel_size=(5, 4), strides=2, padding="same")),
        ("same_3x3_stride2_even", EVEN, dict(filters=4, kernel_size=3, strides=2, padding="same")),
        ("same_3x3_stride2_odd", ODD, dict(filters=4, kernel_size=3, strides=2, padding="same")),
        ("valid_3x3_stride2_even", EVEN, dict(filters=4, kernel_size=3, strides=2)),
        ("valid_3x3_stride2_odd", ODD, dict(filters=4, kernel_size=3, strides=2)),
        ("same_3x3_stride2x1", IMAGE, dict(filters=4, kernel_size=3, strides=(2, 1), padding="same")),
        ("valid_3x3_stride2x1", IMAGE, dict(filters=4, kernel_size=3, strides=(2, 1))),
        ("valid_7x7_stride2", (2, 12, 11, 3), dict(filters=4, kernel_size=7, strides=2)),
        ("same_7x7_stride2", (2, 8, 9, 3), dict(filters=4, kernel_size=7, strides=2, padding="same")),
        ("same_2x2_stride2_odd", ODD, dict(filters=3, kernel_size=2, strides=2, padding="same")),
        ("valid_3x3_dilation2", IMAGE, dict(filters=3, kernel_size=3, dilation_rate=2)),
        ("same_3x3_dilation2", IMAGE, dict(filters=3, kernel_size=3, dilation_rate=2, padding="same")),
        ("same_3x3_groups2", IMAGE, dict(filters=6, kernel_size=3, groups=2, padding="same")),
        ("valid_1x1_groups2", IMAGE, dict(filters=6, kernel_size=1, groups=2)),
        ("same_3x3_no_bias", IMAGE, dict(filters=5, kernel_size=3, padding="same", use_bias=False)),
    ]
    for name, shape, arguments in conv:
        yield f"conv2d_{name}", L.Conv2D, arguments, [shape], False
    depthwise = [
        ("same_3x3", IMAGE, dict(kernel_size=3, padding="same")),
        ("same_3x3_stride2_even", EVEN, dict(kernel_size=3, strides=2, padding="same")),
        ("same_3x3_stride2_odd", ODD, dict(kernel_size=3, strides=2, padding="same")),
        ("valid_3x3", IMAGE, dict(kernel_size=3)),
        ("valid_3x3_stride2", IMAGE, dict(kernel_size=3, strides=2)),
        ("same_3x3_multiplier2", IMAGE, dict(kernel_size=3, depth_multiplier=2, padding="same")),
        ("same_3x3_no_bias", IMAGE, dict(kernel_size=3, padding="same", use_bias=False)),
    ]
    for name, shape, arguments in depthwise:
        yield f"depthwise_conv2d_{name}", L.DepthwiseConv2D, arguments, [shape], False


def dense_and_normalization():
    for name, arguments in [
        ("linear", dict(units=5)),
        ("relu", dict(units=5, activation="relu")),
        ("softmax", dict(units=5, activation="softmax")),
        ("no_bias", dict(units=5, use_bias=False)),
    ]:
        yield f"dense_{name}", L.Dense, arguments, [(3, 7)], False
    for name, shape, arguments in [
        ("4d", IMAGE, {}),
        ("2d", (6, 5), {}),
        ("4d_resnet", IMAGE, NESTED_BN),
        ("4d_no_scale", IMAGE, dict(scale=False, momentum=0.9)),
        ("4d_no_center", IMAGE, dict(center=False, momentum=0.9)),
        ("2d_no_scale_no_center", (6, 5), dict(scale=False, center=False, momentum=0.9)),
    ]:
        for training in (True, False):
            suffix = "training" if training else "inference"
            yield f"batch_normalization_{name}_{suffix}", L.BatchNormalization, arguments, [shape], training
    yield (
        "batch_normalization_4d_frozen_training",
        L.BatchNormalization,
        dict(**NESTED_BN, trainable=False),
        [IMAGE],
        True,
    )


def activations():
    names = ["linear", "relu", "relu6", "leaky_relu", "sigmoid", "hard_sigmoid", "tanh", "softmax", "log_softmax"]
    names += ["gelu", "silu", "hard_swish", "elu", "selu", "softplus", "softsign", "exponential"]
    for name in names:
        values = hold_off(spread(generator(f"activation_{name}"), (3, 20), -5, 8), KINKS.get(name, []))
        yield f"activation_{name}", L.Activation, dict(activation=name), [values], False
    yield "activation_softmax_4d", L.Activation, dict(activation="softmax"), [(2, 3, 2, 5)], False
    for name, arguments, kinks in [
        ("default", {}, [0]),
        ("max_value", dict(max_value=6.0), [0, 6]),
        ("negative_slope", dict(negative_slope=0.2), [0]),
        ("threshold", dict(threshold=1.0), [1]),
        ("everything", dict(max_value=4.0, negative_slope=0.1, threshold=0.5), [0.5, 4]),
    ]:
        values = hold_off(spread(generator(f"relu_{name}"), (3, 20), -5, 8), kinks)
        yield f"relu_{name}", L.ReLU, arguments, [values], False
    yield "dropout_inference", L.Dropout, dict(rate=0.5), [(3, 6)], False


def pooling():
    for kind, cls in [("max", L.MaxPooling2D), ("average", L.AveragePooling2D)]:
        for name, shape, arguments in [
            ("2x2_valid_even", EVEN, dict(pool_size=2)),
            ("2x2_valid_odd", ODD, dict(pool_size=2)),
            ("2x2_same_odd", ODD, dict(pool_size=2, padding="same")),
            ("3x3_stride2_valid_odd", ODD, dict(pool_size=3, strides=2)),
            ("3x3_stride2_valid_even", EVEN, dict(pool_size=3, strides=2)),
            ("3x3_stride2_same_odd", ODD, dict(pool_size=3, strides=2, padding="same")),
            ("3x3_stride2_same_even", EVEN, dict(pool_size=3, strides=2, padding="same")),
            ("3x3_stride1_same", ODD, dict(pool_size=3, strides=1, padding="same")),
            ("3x2_stride1x2_valid", IMAGE, dict(pool_size=(3, 2), strides=(1, 2))),
        ]:
            yield f"{kind}_pooling2d_{name}", cls, arguments, [shape], False
    for kind, cls in [("average", L.GlobalAveragePooling2D), ("max", L.GlobalMaxPooling2D)]:
        yield f"global_{kind}_pooling2d", cls, {}, [IMAGE], False
        yield f"global_{kind}_pooling2d_keepdims", cls, dict(keepdims=True), [IMAGE], False


def shaping():
    yield "flatten_4d", L.Flatten, {}, [(2, 3, 2, 4)], False
    yield "flatten_2d", L.Flatten, {}, [(2, 5)], False
    yield "reshape", L.Reshape, dict(target_shape=(4, 6)), [(2, 3, 2, 4)], False
    yield "reshape_inferred", L.Reshape, dict(target_shape=(2, -1, 3)), [(2, 24)], False
    yield "zero_padding2d_symmetric", L.ZeroPadding2D, dict(padding=2), [(2, 4, 3, 2)], False
    yield "zero_padding2d_rows_columns", L.ZeroPadding2D, dict(padding=(1, 3)), [(2, 4, 3, 2)], False
    yield "zero_padding2d_asymmetric", L.ZeroPadding2D, dict(padding=((0, 1), (2, 0))), [(2, 4, 3, 2)], False
    yield "add_2", L.Add, {}, [(2, 4, 3, 2)] * 2, False
    yield "add_3", L.Add, {}, [(2, 4, 3, 2)] * 3, False
    yield "concatenate_3", L.Concatenate, {}, [(2, 4, 3, 2), (2, 4, 3, 1), (2, 4, 3, 3)], False
    for interpolation in ("nearest", "bilinear"):
        size = dict(size=(2, 3), interpolation=interpolation)
        yield f"up_sampling2d_{interpolation}", L.UpSampling2D, size, [(2, 4, 3, 2)], False
        for name, shape, height, width in [
            ("up_8_to_21", (2, 8, 8, 3), 21, 21),
            ("down_9_to_4", (2, 9, 9, 3), 4, 4),
            ("mixed_7x6_to_12x4", (2, 7, 6, 3), 12, 4),
            ("same_size", (2, 5, 4, 3), 5, 4),
        ]:
            arguments = dict(height=height, width=width, interpolation=interpolation)
            yield f"resizing_{interpolation}_{name}", L.Resizing, arguments, [shape], False
        picture = generator(f"resizing_{interpolation}_uint8").integers(0, 256, (2, 6, 5, 3), dtype="uint8")
        arguments = dict(height=14, width=9, interpolation=interpolation)
        yield f"resizing_{interpolation}_uint8", L.Resizing, arguments, [picture], False
    picture = generator("rescaling_uint8").integers(0, 256, (2, 4, 3, 3), dtype="uint8")
    per_channel = dict(scale=[0.5, 0.25, 2.0], offset=[-1.0, 0.5, 3.0])
    yield "rescaling_scalar", L.Rescaling, dict(scale=1 / 127.5, offset=-1.0), [(2, 4, 3, 3)], False
    yield "rescaling_per_channel", L.Rescaling, per_channel, [(2, 4, 3, 3)], False
    yield "rescaling_uint8", L.Rescaling, dict(scale=1 / 255), [picture], False
    statistics = dict(axis=-1, mean=[0.5, -1.0, 2.0], variance=[0.25, 4.0, 1.7])
    yield "normalization_per_channel", L.Normalization, statistics, [(2, 4, 3, 3)], False
    yield "normalization_inverted", L.Normalization, dict(**statistics, invert=True), [(2, 4, 3, 3)], False


def weight_values(rng, name, shape):
    if name in ("moving_variance", "variance"):
        return (0.5 + rng.random(shape)).astype("float32")
    if name == "count":
        return np.int64(7)
    if name == "gamma":
        return (0.5 + rng.random(shape)).astype("float32")
    return normal(rng, shape, 0.5)


def check_kinks(name, layer, call):
    """A fused relu must not stand on its kink: another summation order would change its gradient."""
    if getattr(layer, "activation", None) is not keras.activations.relu or isinstance(layer, L.Activation):
        return
    layer.activation = keras.activations.linear
    nearest = float(np.abs(call()).min())
    layer.activation = keras.activations.relu
    if nearest < 1e-4:
        raise ValueError(f"{name}: a value before relu is {nearest}; change the case's name to draw others")


def add_case(golden, name, cls, arguments, inputs, training):
    rng = generator(name)
    arrays = [spread(rng, source) if isinstance(source, tuple) else source for source in inputs]
    layer = cls(name=name, **arguments)
    tensors = [tf.constant(array) for array in arrays]
    shapes = [array.shape for array in arrays]
    layer.build(shapes if len(shapes) > 1 else shapes[0])
    for weight in layer.weights:
        weight.assign(weight_values(rng, weight.name, weight.shape))
        values = weight.numpy()
        golden.put(f"{name}/weights/{weight.name}", values.astype("int32") if values.dtype == "int64" else values)
    if isinstance(layer, L.Normalization):
        layer.finalize_state()  # takes over the weights, as loading a file does

    def call():
        return layer(tensors if len(tensors) > 1 else tensors[0], training=training)

    check_kinks(name, layer, call)
    differentiable = [t for t in tensors if t.dtype == tf.float32]
    trainable = [w.value for w in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(differentiable)
        output = call()
        probe = normal(rng, output.shape)
        loss = tf.reduce_sum(tf.cast(output, tf.float32) * probe)
    gradients = tape.gradient(loss, differentiable + trainable) if differentiable else []

    for index, array in enumerate(arrays):
        golden.put(f"{name}/inputs/{index}", array)
    golden.put(f"{name}/outputs/0", output.numpy())
    if differentiable:
        golden.put(f"{name}/probe", probe)
    for index, gradient in enumerate(gradients[: len(differentiable)]):
        golden.put(f"{name}/gradients/inputs/{index}", gradient.numpy())
    for weight, gradient in zip(layer.trainable_weights, gradients[len(differentiable) :]):
        golden.put(f"{name}/gradients/weights/{weight.name}", gradient.numpy())
    updated = [w for w in layer.non_trainable_weights if w.name.startswith("moving_") and training]
    for weight in updated:
        golden.put(f"{name}/updated/{weight.name}", weight.numpy())
    golden.json["cases"].append(
        {
            "name": name,
            "layer": cls.__name__,
            "training": training,
            "config": layer.get_config(),
            "inputs": [describe(array) for array in arrays],
            "weights": [
                {"name": w.name, "shape": list(w.shape), "trainable": id(w) in map(id, layer.trainable_weights)}
                for w in layer.weights
            ],
            "outputs": [describe(output.numpy())],
            "gradients": bool(differentiable),
            "updated": [w.name for w in updated],
        }
    )


def write(folder):
    golden = Golden("layers", cases=[])
    for case in cases():
        add_case(golden, *case)
    golden.write(folder, packed=True)
