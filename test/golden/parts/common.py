"""What every part shares: repeatable random arrays, and the pair of files (.safetensors, .json) of one stem."""

import gzip
import json
import platform
import zlib

import h5py
import keras
import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

SEED = 20240607
DTYPES = ("float32", "int32", "uint8")


def generator(name):
    """A random generator that depends on `name` alone, so that a new case leaves the others as they are."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def normal(rng, shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype("float32")


def spread(rng, shape, low=-2.0, high=2.0):
    """Shuffled, evenly spaced values: all distinct, so that no maximum is tied."""
    return rng.permutation(np.linspace(low, high, int(np.prod(shape)))).reshape(shape).astype("float32")


def hold_off(values, kinks, distance=0.02):
    """Moves values that lie within `distance` of a kink up to that distance from it."""
    for kink in kinks:
        offset = values - kink
        values = np.where(np.abs(offset) < distance, kink + np.where(offset < 0, -distance, distance), values)
    return values.astype("float32")


def describe(array):
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


class Golden:
    """Collects the arrays and the description that become `<stem>.safetensors` and `<stem>.json`."""

    def __init__(self, stem, **fields):
        self.stem = stem
        self.arrays = {}
        self.json = {"keras": keras.__version__, **fields}

    def put(self, name, array):
        array = np.ascontiguousarray(array)
        if str(array.dtype) not in DTYPES:
            raise TypeError(f"{self.stem}: {name} is {array.dtype}, expected one of {DTYPES}")
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise ValueError(f"{self.stem}: {name} is not finite")
        if name in self.arrays:
            raise KeyError(f"{self.stem}: {name} twice")
        self.arrays[name] = array

    def write(self, folder, packed=False):
        (folder / f"{self.stem}.safetensors").write_bytes(safetensors.numpy.save(self.arrays))
        write_json(folder / f"{self.stem}.json", self.json, packed)


def write_json(path, value, packed=False):
    """Indented; long and repetitive ones are `packed` into `.json.gz`."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if packed:
        path.with_suffix(".json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    else:
        path.write_text(text)


def write_versions(folder):
    write_json(
        folder / "versions.json",
        {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
            "safetensors": safetensors.__version__,
        },
    )
