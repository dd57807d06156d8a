"""The rows of `npm run bench` in Keras with the TensorFlow backend: same models, batches, precision, threads, data.

    python -m venv peers && peers/bin/pip install keras tensorflow-cpu
    peers/bin/python bench/peers/keras_tensorflow.py [ROUNDS] [ROW...]

Prints JSON lines like the bench. The yardstick is TensorFlow's own: eight 2048-cube products in a chain.
"""
import json
import os
import statistics
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import tensorflow as tf
from keras import layers

THREADS = os.cpu_count()
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
CHOSEN = sys.argv[2:]
MEAN = [103.939, 116.779, 123.68]


def resnet(size):
    """ResNet50 on pictures of 32 px: BGR minus the mean as a 1x1 convolution, enlarged inside the model."""
    image = keras.Input((32, 32, 3))
    flip = layers.Conv2D(3, 1, trainable=False)
    x = flip(image)
    flip.set_weights([np.eye(3)[::-1][None, None], -np.array(MEAN)])
    x = layers.Resizing(size, size)(x)
    base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(size, size, 3))
    return image, x, base


def head(x):
    return layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def compiled(model, optimizer):
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def last_block():
    """conv5 on the output of conv4, from Keras's own layers."""
    base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(224, 224, 3))
    return keras.Model(base.get_layer("conv4_block6_out").output, head(base.output))


def resnet20():
    def conv(x, filters, stride):
        return layers.BatchNormalization()(layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x))

    image = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv(layers.Rescaling(1 / 127.5, -1)(image), 16, 1))
    for stage, filters in enumerate([16, 32, 64]):
        for block in range(3):
            stride = 2 if stage > 0 and block == 0 else 1
            short = x if stride == 1 else layers.BatchNormalization()(layers.Conv2D(filters, 1, stride, use_bias=False)(x))
            y = conv(layers.ReLU()(conv(x, filters, stride)), filters, 1)
            x = layers.ReLU()(layers.Add()([short, y]))
    return keras.Model(image, head(x))


def rows():
    images = lambda n: np.random.randint(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = lambda n: np.arange(n) % 10
    trained = lambda model, x, n: (lambda: model.train_on_batch(x, labels(n)))

    def frozen():
        image, x, base = resnet(224)
        part = keras.Model(base.input, base.get_layer("conv4_block6_out").output)
        model, pictures = keras.Model(image, part(x)), images(16)
        return lambda: model.predict_on_batch(pictures), 16, 16 * 2 * 3.13

    def conv5():
        model = compiled(last_block(), keras.optimizers.RMSprop(2e-5))
        features = np.random.rand(32, 14, 14, 1024).astype("float32")
        return trained(model, features, 32), 32, 32 * 2 * (3 * 0.732 - 0.128)

    def full():
        image, x, base = resnet(224)
        model = compiled(keras.Model(image, head(base(x))), keras.optimizers.SGD(1e-3, momentum=0.9))
        return trained(model, images(16), 16), 16, 16 * 2 * 3 * 3.86

    def scratch():
        model = compiled(resnet20(), keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True))
        return trained(model, images(128), 128), 128, 128 * 2 * 3 * 0.0409

    def head_only():
        model = keras.Sequential([keras.Input((2048,)), layers.Dense(10, activation="softmax")])
        compiled(model, "adam")
        x, y = np.random.rand(50_000, 2048).astype("float32"), labels(50_000)
        return lambda: model.fit(x, y, batch_size=256, epochs=1, verbose=0), 50_000, None

    return {"frozen": frozen, "conv5": conv5, "full": full, "scratch": scratch, "head": head_only}


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1000


def main():
    a = tf.fill((2048, 2048), 1 / 2048)

    @tf.function
    def chain(x):
        product = x
        for _ in range(8):
            product = product @ x
        return tf.reduce_sum(product)

    yardstick = lambda: chain(a).numpy()
    gflop = 8 * 2 * 2048**3 / 1e9
    print(json.dumps({"peer": "Keras", "version": keras.__version__, "tensorflow": tf.__version__, "threads": THREADS}))
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
        keras.backend.clear_session()


main()
