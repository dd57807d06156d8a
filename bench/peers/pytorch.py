"""The rows of `npm run bench` in PyTorch: same models, batches, precision, threads and data.

    python -m venv peers && peers/bin/pip install torch
    peers/bin/python bench/peers/pytorch.py [ROUNDS] [ROW...]

Prints JSON lines like the bench. The yardstick is PyTorch's own: eight 2048-cube products in a chain.
"""
import json
import os
import statistics
import sys
import time
import warnings

import torch
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
from torch.nn import functional as F

warnings.filterwarnings("ignore")  # torchao is to replace torch.ao; the kernels are the same.
THREADS = os.cpu_count()
torch.set_num_threads(THREADS)
torch.manual_seed(0)
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
CHOSEN = sys.argv[2:]


class Bottleneck(nn.Module):
    """ResNet-50 v1: the stride is in the first 1x1 convolution, as in Keras."""

    def __init__(self, inputs, filters, stride, project):
        super().__init__()
        self.a = nn.Conv2d(inputs, filters, 1, stride)
        self.b = nn.Conv2d(filters, filters, 3, padding=1)
        self.c = nn.Conv2d(filters, 4 * filters, 1)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, 4 * filters, 1, stride), nn.BatchNorm2d(4 * filters)) if project else nn.Identity()
        self.na, self.nb, self.nc = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters), nn.BatchNorm2d(4 * filters)

    def forward(self, x):
        y = F.relu(self.na(self.a(x)))
        y = F.relu(self.nb(self.b(y)))
        return F.relu(self.nc(self.c(y)) + self.shortcut(x))


def stage(inputs, filters, blocks, stride):
    layers = [Bottleneck(inputs if i == 0 else 4 * filters, filters, stride if i == 0 else 1, i == 0) for i in range(blocks)]
    return nn.Sequential(*layers)


def stem():
    return nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))


def frozen_part():
    return nn.Sequential(stem(), stage(64, 64, 3, 1), stage(256, 128, 4, 2), stage(512, 256, 6, 2))


class Head(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.dense = nn.Linear(features, 10)

    def forward(self, x):
        return self.dense(x.mean((2, 3)))


class Preprocess(nn.Module):
    """uint8 pictures of 32 px to what ResNet50 takes at 224 px."""

    def forward(self, x):
        x = x.permute(0, 3, 1, 2).float().flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        return F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.a = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(nn.Conv2d(inputs, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        return F.relu(self.nb(self.b(F.relu(self.na(self.a(x))))) + self.shortcut(x))


def resnet20():
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [BasicBlock(widths[i], widths[i + 1], 2 if widths[i] != widths[i + 1] else 1) for i in range(9)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks, Head(64))


def step(model, optimizer, x, y):
    def run():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def rows():
    images = lambda n: torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8)
    labels = lambda n: torch.arange(n) % 10

    def frozen():
        model = nn.Sequential(Preprocess(), frozen_part()).eval().to(memory_format=torch.channels_last)
        x = images(16)

        def run():
            with torch.inference_mode():
                model(x)

        return run, 16, 16 * 2 * 3.13

    def int8():
        # Of its engines the quickest here; static, weights by channel, as Graft's.
        torch.backends.quantized.engine = "onednn"
        preprocess, x = Preprocess(), images(16)
        example = (preprocess(x),)
        observed = quantize_fx.prepare_fx(frozen_part().eval(), get_default_qconfig_mapping("onednn"), example)
        with torch.inference_mode():
            observed(*example)
        model = quantize_fx.convert_fx(observed)

        def run():
            with torch.inference_mode():
                model(preprocess(x).contiguous(memory_format=torch.channels_last))

        return run, 16, 16 * 2 * 3.13

    def conv5():
        model = nn.Sequential(stage(1024, 512, 3, 2), Head(2048)).to(memory_format=torch.channels_last)
        x = torch.rand(32, 1024, 14, 14).to(memory_format=torch.channels_last)
        return step(model, torch.optim.RMSprop(model.parameters(), lr=2e-5), x, labels(32)), 32, 32 * 2 * (3 * 0.732 - 0.128)

    def full():
        model = nn.Sequential(Preprocess(), frozen_part(), stage(1024, 512, 3, 2), Head(2048)).to(memory_format=torch.channels_last)
        return step(model, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), images(16), labels(16)), 16, 16 * 2 * 3 * 3.86

    def scratch():
        model = resnet20()
        x = torch.rand(128, 3, 32, 32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        return step(model, optimizer, x, labels(128)), 128, 128 * 2 * 3 * 0.0409

    def head():
        model = nn.Linear(2048, 10)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        x, y = torch.rand(50_000, 2048), labels(50_000)

        def run():
            for batch in torch.randperm(50_000).split(256):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()

        return run, 50_000, None

    return {"frozen": frozen, "int8": int8, "conv5": conv5, "full": full, "scratch": scratch, "head": head}


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1000


def main():
    a = torch.full((2048, 2048), 1 / 2048)

    def yardstick():
        with torch.inference_mode():
            product = a
            for _ in range(8):
                product = product @ a

    gflop = 8 * 2 * 2048**3 / 1e9
    print(json.dumps({"peer": "PyTorch", "version": torch.__version__, "threads": THREADS, "rounds": ROUNDS}))
    yardstick()
    for name, make in rows().items():
        if CHOSEN and name not in CHOSEN:
            continue
        run, count, work = make()
        run()
        run()
        yard, own = [], []
        for _ in range(ROUNDS):
            yard.append(timed(yardstick))
            own.append(timed(run))
        median = statistics.median(own)
        print(json.dumps({
            "row": name,
            "ms": {"median": median, "low": min(own), "high": max(own)},
            "imagesPerSecond": count / median * 1000,
            "gflops": work and work / median * 1000,
            "yardstick": gflop / statistics.median(yard) * 1000,
        }), flush=True)


main()
