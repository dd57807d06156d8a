"""Writes the golden files beside this script: numbers from Keras that the TypeScript tests compare with.

    python make.py [--mirror FOLDER] [--reference FOLDER] [--only layers losses ...]

`--mirror` (or GRAFT_MIRROR) names a folder with the ImageNet weights and CIFAR-10. Without it
`resnet50_mirror.*` is skipped, with a message; everything else needs only Keras.
"""

import argparse
import os
import sys
from pathlib import Path

# Read by TensorFlow at import. oneDNN chooses kernels by machine; Eigen's sums are the more repeatable ones.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["COLUMNS"] = "98"  # without a terminal, model.summary() is cut at 80 columns whatever line_length says

sys.dont_write_bytecode = True

import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.experimental.enable_op_determinism()
tf.random.set_seed(0)

from parts import (
    application_layers,
    applications,
    augmentation,
    callbacks,
    common,
    defaults,
    layers,
    losses,
    optimizers,
    resnet50,
    saliency,
    training,
)


PARTS = {
    "layers": layers.write,
    "application_layers": application_layers.write,
    "augmentation": augmentation.write,
    "losses": losses.write,
    "optimizers": optimizers.write,
    "training": training.write,
    "resnet50": resnet50.write,
    "applications": applications.write,
    "defaults": defaults.write,
    "callbacks": callbacks.write,
    "saliency": saliency.write,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", default=os.environ.get("GRAFT_MIRROR"))
    parser.add_argument("--reference", default=os.environ.get("GRAFT_REFERENCE"))
    parser.add_argument("--only", nargs="*", choices=[*PARTS, "mirror"], default=[*PARTS, "mirror"])
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent

    common.write_versions(folder)
    for name, write in PARTS.items():
        if name in options.only:
            print(f"{name} ...", flush=True)
            write(folder)
    if "mirror" in options.only:
        if options.mirror and Path(options.mirror).is_dir():
            reference = Path(options.reference) if options.reference else None
            resnet50.write_mirror(folder, Path(options.mirror), reference)
        else:
            print("resnet50_mirror skipped: no mirror folder (--mirror or GRAFT_MIRROR)", file=sys.stderr)


main()
