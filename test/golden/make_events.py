"""events.json: TensorBoard's own summaries as records of an event file, in hexadecimal.

    python make_events.py

Needs the package tensorboard, without TensorFlow.
"""

import io
import json
import platform
from pathlib import Path

import numpy as np
import tensorboard
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.histogram import summary_v2 as histogram
from tensorboard.plugins.scalar import summary_v2 as scalar
from tensorboard.summary.writer.record_writer import RecordWriter

VALUES = np.float32([-1.5, -0.25, 0, 0.125, 0.125, 2, 2.5, 3])


def record(event):
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue().hex()


def summary(made):
    return record(Event(wall_time=1700000000.5, step=3, summary=made))


folder = Path(__file__).resolve().parent
records = {
    "version": record(Event(wall_time=1700000000.5, file_version="brain.Event:2")),
    "scalar": summary(scalar.scalar_pb("epoch_loss", np.float32(0.625))),
    "histogram": summary(histogram.histogram_pb("conv/kernel/histogram", VALUES, buckets=30)),
    "constant": summary(histogram.histogram_pb("conv/bias/histogram", np.full(5, 0.5, "float32"), buckets=30)),
}
made = {"tensorboard": tensorboard.__version__, "numpy": np.__version__, "python": platform.python_version()}
(folder / "events.json").write_text(json.dumps({**made, "values": VALUES.tolist(), "records": records}, indent=1) + "\n")
