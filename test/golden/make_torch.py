"""A narrow VGG16 as torchvision builds and names it, its weights and what it computes: formats/torch_vgg16.safetensors.

    venv/bin/pip install torch==2.15.0
    venv/bin/python make_torch.py

torchvision/models/vgg.py, configuration D, with 2 to 4 channels instead of 64 to 512, for pictures of 64x64: the last
feature map is then 2x2, so that the order in which it is flattened matters. Element i of the pictures (2, 64, 64, 3) is
(37 i mod 101) / 50 - 1; "probabilities" is the softmax of the classifier's output.
"""

import json
import struct
from pathlib import Path

import torch
from torch import nn

CONFIGURATION = [2, 2, "M", 2, 2, "M", 3, 3, 3, "M", 3, 3, 3, "M", 4, 4, 4, "M"]


def vgg16():
    modules, channels = [], 3
    for width in CONFIGURATION:
        if width == "M":
            modules.append(nn.MaxPool2d(2, 2))
        else:
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    net = nn.Module()
    net.features = nn.Sequential(*modules)
    net.classifier = nn.Sequential(
        nn.Linear(4 * 2 * 2, 6), nn.ReLU(True), nn.Dropout(), nn.Linear(6, 6), nn.ReLU(True), nn.Dropout(), nn.Linear(6, 5)
    )
    return net


def main():
    torch.manual_seed(4)
    net = vgg16().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.copy_(torch.randn(parameter.shape) * (2 / inputs) ** 0.5)
        x = ((torch.arange(2 * 64 * 64 * 3, dtype=torch.float64) * 37 % 101) / 50 - 1).float().reshape(2, 64, 64, 3)
        features = net.features(x.permute(0, 3, 1, 2))
        probabilities = net.classifier(torch.flatten(features, 1)).softmax(1)
    arrays = {**net.state_dict(), "probabilities": probabilities}
    header, data = {"__metadata__": {"torch": torch.__version__}}, b""
    for name, value in arrays.items():
        content = struct.pack(f"<{value.numel()}f", *value.flatten().tolist())
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path = Path(__file__).parent / "formats" / "torch_vgg16.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(probabilities)


main()
