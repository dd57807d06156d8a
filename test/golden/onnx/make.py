"""Small foreign ONNX models for the tests of ONNX backbones. Writes them next to itself.

    python -m venv venv && venv/bin/pip install torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
    venv/bin/python make.py

Weights are multiples of 1/64, so that float16 holds them exactly. What the models compute is not written down: the
tests run the same files with ONNX Runtime itself.
"""

import os
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
random = np.random.default_rng(20260101)


def path(name):
    return os.path.join(HERE, name)


def weights(name, *shape, scale=1.0):
    values = np.round(random.normal(0, scale, shape) * 64) / 64
    return numpy_helper.from_array(values.astype(np.float32), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def batchnorm(x, y, channels, initializers, **attributes):
    names = [f"{y}_{part}" for part in ("scale", "bias", "mean", "variance")]
    initializers += [weights(name, channels, scale=0.5) for name in names[:3]]
    variance = np.round(random.uniform(0.5, 2, channels) * 64) / 64
    initializers.append(numpy_helper.from_array(variance.astype(np.float32), names[3]))
    return node("BatchNormalization", " ".join([x, *names]), y, **attributes)


def model(nodes, initializers, inputs, outputs, opset, ir=8, metadata=(), domains=()):
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        initializer=initializers,
    )
    opsets = [helper.make_opsetid("", opset), *[helper.make_opsetid(d, v) for d, v in domains]]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="small")
    helper.set_model_props(made, dict(metadata))
    onnx.checker.check_model(made)
    return made


FREE = ["batch", 3, "height", "width"]


def plain(opset):
    """A map of 8 channels, then a classifier: average, matrix."""
    random_state()
    init = [weights("w1", 8, 3, 3, 3, scale=0.3), weights("b1", 8, scale=0.3), weights("wc", 8, 5), weights("bc", 5)]
    nodes = [
        node("Conv", "image w1 b1", "conv", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        batchnorm("conv", "norm", 8, init, epsilon=0.001),
        node("Relu", "norm", "map"),
        node("GlobalAveragePool", "map", "pool"),
        node("Flatten", "pool", "embedding"),
        node("Gemm", "embedding wc bc", "logits"),
    ]
    inputs = [("image", TensorProto.FLOAT, FREE)]
    outputs = [("logits", ["batch", 5]), ("map", ["batch", 8, "h", "w"]), ("embedding", ["batch", 8])]
    return model(nodes, init, inputs, [(name, TensorProto.FLOAT, shape) for name, shape in outputs], opset)


def random_state():
    global random
    random = np.random.default_rng(20260101)


def half(made):
    """The same in float16 throughout."""
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in [*made.graph.input, *made.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return made


def changes9():
    """Every operation whose form changed since set 9, behind one another; the picture is 16x16."""
    random_state()
    end = 2**63 - 1
    init = [weights("w", 4, 3, 3, 3, scale=0.3)]
    nodes = [
        node("Pad", "image", "padded", pads=[0, 0, 1, 2, 0, 0, 2, 1], value=0.5, mode="constant"),
        node("Conv", "padded w", "conv", kernel_shape=[3, 3], strides=[2, 2]),
        batchnorm("conv", "norm", 4, init, epsilon=0.01),
        node("Clip", "norm", "clip", min=-1.0, max=1.5),
        node("Constant", "", "scales", value=numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32))),
        node("Upsample", "clip scales", "large", mode="nearest"),
        node("Slice", "large", "sliced", axes=[2, 3], starts=[1, 2], ends=[end, -1]),
        # Over channels, height and width together.
        node("Softmax", "sliced", "soft"),
        node("LogSoftmax", "sliced", "log", axis=2),
        node("Dropout", "soft", "dropped", ratio=0.5),
        node("Split", "log", "left right", axis=1, split=[1, 3]),
        node("Concat", "right left", "swapped", axis=1),
        node("Unsqueeze", "swapped", "five", axes=[4]),
        node("Squeeze", "five", "four", axes=[4]),
        node("ReduceMax", "four", "highest", axes=[3], keepdims=1),
        node("ReduceSum", "dropped", "sums", axes=[2], keepdims=1),
        node("TopK", "four", "best places", k=1, axis=2),
        node("Add", "four highest", "a"),
        node("Mul", "a sums", "b"),
        node("Add", "b best", "features"),
    ]
    return model(
        nodes,
        init,
        [("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [("features", TensorProto.FLOAT, [1, 4, "h", "w"])],
        9,
        ir=4,
    )


def changes16():
    """What changed between 16 and 20."""
    random_state()
    rows, columns = np.meshgrid(np.linspace(-0.9, 0.7, 6), np.linspace(-0.8, 1.1, 5), indexing="ij")
    grid = numpy_helper.from_array(np.stack([columns, rows], -1)[None].astype(np.float32), "grid")
    init = [weights("w", 4, 3, 1, 1), grid, ints("ones3", 1, 1, 1), ints("zero", 0)]
    nodes = [
        node("Conv", "image w", "conv"),
        # The same grid for each picture.
        node("Shape", "conv", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Concat", "batch ones3", "repeats", axis=0),
        node("Tile", "grid repeats", "grids"),
        node("GridSample", "conv grids", "sampled", mode="bilinear", padding_mode="border", align_corners=0),
        node("ReduceMean", "sampled", "mean", axes=[2], keepdims=1),
        node("Split", "sampled", "left right", axis=1),
        node("Concat", "right left", "swapped", axis=1),
        node("Sub", "swapped mean", "features"),
    ]
    return model(
        nodes,
        init,
        [("image", TensorProto.FLOAT, FREE)],
        [("features", TensorProto.FLOAT, ["batch", 4, 6, 5])],
        16,
    )


def channels_last():
    """As TensorFlow's converter writes it: pictures and features channels-last, in between channels-first."""
    random_state()
    init = [weights("w1", 8, 3, 3, 3, scale=0.3), weights("bias", 8, scale=0.3)]
    nodes = [
        node("Transpose", "image", "first", perm=[0, 3, 1, 2]),
        node("Conv", "first w1", "conv", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Transpose", "conv", "last", perm=[0, 2, 3, 1]),
        node("Add", "last bias", "biased"),
        node("Relu", "biased", "features"),
    ]
    return model(
        nodes,
        init,
        [("image", TensorProto.FLOAT, ["unk", "h", "w", 3])],
        [("features", TensorProto.FLOAT, ["unk", "h", "w", 8])],
        17,
        metadata={"mean": "[0.5, 0.25, 0.125]", "std": "[0.25, 0.5, 1.0]"},
    )


class Convolutional(nn.Module):
    """With what exporters make of a batch that they take for fixed."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, 2, 1)
        self.classifier = nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv1(x)))
        x = nn.functional.hardswish(self.conv2(x))
        x = nn.functional.avg_pool2d(x, 2)
        return self.classifier(x.reshape(x.shape[0], -1))


class Transformer(nn.Module):
    """One block over 4x4 patches and a class token."""

    def __init__(self, width=16, heads=2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 32), nn.Linear(32, width)
        self.classifier = nn.Linear(width, 5)

    def forward(self, x):
        batch = x.shape[0]
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(batch, -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, 17, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(batch, 17, -1))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return self.classifier(self.norm3(x)[:, 0])


def export(module, name, size, before, **options):
    """`before`: operations whose inputs become outputs too, so that tests can see them."""
    torch.manual_seed(7)
    made = module()
    for parameter in made.parameters():
        parameter.data = torch.round(parameter.data * 64) / 64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(made.eval(), (torch.zeros(1, 3, size, size),), path(name), **options)
    # What the exporter remembers of the source is larger than the model.
    slim = onnx.load(path(name))
    for each in slim.graph.node:
        del each.metadata_props[:]
        each.doc_string = ""
    del slim.graph.metadata_props[:], slim.graph.value_info[:], slim.metadata_props[:]
    for value in [*slim.graph.input, *slim.graph.output]:
        del value.metadata_props[:]
    for op in before:
        last = [each for each in slim.graph.node if each.op_type == op][-1]
        slim.graph.output.append(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, None))
    onnx.save(slim, path(name))


def main():
    onnx.save(plain(17), path("plain.onnx"))
    newest = plain(26)
    newest.ir_version = 13
    onnx.save(newest, path("newest.onnx"))
    onnx.save(half(plain(17)), path("half.onnx"))
    external = plain(17)
    if os.path.exists(path("external.bin")):
        os.remove(path("external.bin"))
    onnx.save(external, path("external.onnx"), save_as_external_data=True, location="external.bin", size_threshold=0)
    onnx.save(changes9(), path("changes9.onnx"))
    onnx.save(changes16(), path("changes16.onnx"))
    onnx.save(channels_last(), path("channels_last.onnx"))
    fixed = {"dynamo": False, "opset_version": 9}
    export(Convolutional, "torch9_fixed.onnx", 16, ["Reshape", "Gemm"], **fixed)
    newer = {"dynamo": True, "external_data": False, "verbose": False}
    export(Transformer, "transformer.onnx", 16, ["Gemm"], dynamic_shapes=[{0: "batch"}], **newer)
    export(Transformer, "transformer_fixed.onnx", 16, ["Gemm"], **newer)
    print({name: os.path.getsize(path(name)) for name in sorted(os.listdir(HERE))})


main()
