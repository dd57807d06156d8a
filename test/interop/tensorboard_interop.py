"""Prints what TensorBoard's event_accumulator reads in a folder of logs, as JSON.

    python tensorboard_interop.py FOLDER

`GRAFT_KERAS_PYTHON=/path/to/python npx vitest run test/interop/tensorboard.test.ts` runs the test that uses it.
"""

import json
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

accumulator = EventAccumulator(sys.argv[1], size_guidance={"tensors": 0})
accumulator.Reload()
read = {}
for tag in accumulator.Tags()["tensors"]:
    plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
    points = []
    for event in accumulator.Tensors(tag):
        value = tensor_util.make_ndarray(event.tensor_proto)
        if plugin == "images":
            value = np.array([int(value[0]), int(value[1]), len(value) - 2])
        points.append({"step": event.step, "value": value.tolist()})
    read[tag] = {"plugin": plugin, "points": points}
print(json.dumps(read))
