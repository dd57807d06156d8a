"""application_layers.*: the layers that keras.applications need beyond those of layers.*, in the same way."""

from keras import layers as L
from keras.src.applications.convnext import LayerScale, StochasticDepth

from .common import Golden
from .layers import IMAGE, ODD, add_case


def cases():
    separable = [
        ("same_3x3", IMAGE, dict(filters=5, kernel_size=3, padding="same")),
        ("same_3x3_stride2_odd", ODD, dict(filters=5, kernel_size=3, strides=2, padding="same")),
        ("valid_3x3_multiplier2", IMAGE, dict(filters=5, kernel_size=3, depth_multiplier=2, activation="silu")),
        ("same_3x3_no_bias", IMAGE, dict(filters=5, kernel_size=3, padding="same", use_bias=False)),
    ]
    for name, shape, arguments in separable:
        yield f"separable_conv2d_{name}", L.SeparableConv2D, arguments, [shape], False
    # As ConvNeXt writes its depthwise convolutions.
    yield "conv2d_same_7x7_groups4", L.Conv2D, dict(filters=4, kernel_size=7, groups=4, padding="same"), [IMAGE], False
    for name, shape, arguments in [
        ("4d", IMAGE, dict(epsilon=1e-6)),
        ("2d", (6, 5), {}),
        ("4d_no_scale", IMAGE, dict(scale=False)),
        ("4d_no_center", IMAGE, dict(center=False)),
    ]:
        yield f"layer_normalization_{name}", L.LayerNormalization, arguments, [shape], False
    yield "dense_4d", L.Dense, dict(units=5), [IMAGE], False
    yield "layer_scale", LayerScale, dict(init_values=1e-6, projection_dim=4), [IMAGE], False
    yield "stochastic_depth_inference", StochasticDepth, dict(drop_path_rate=0.5), [IMAGE], False
    yield "multiply_2", L.Multiply, {}, [(2, 4, 3, 2)] * 2, False
    yield "multiply_broadcast", L.Multiply, {}, [(2, 4, 3, 2), (2, 1, 1, 2)], False
    yield "normalization_adapted", L.Normalization, {}, [(2, 4, 3, 3)], False


def write(folder):
    golden = Golden("application_layers", cases=[])
    for case in cases():
        add_case(golden, *case)
    golden.write(folder)
