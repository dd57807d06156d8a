"""saliency.json: Grad-CAM of the model of training.*, by TensorFlow's GradientTape, as in Keras's guide."""

import keras
import tensorflow as tf

from .common import write_json
from .training import draw_data, initial_weights, restore, small_model

PICTURES = 3
# Through pooling, a strided convolution and two batch norms; through one of them; the last map.
CASES = [("conv_a", None), ("conv_a", 2), ("pool", 4), ("relu_b", None), ("relu_b", 1)]


def grad_cam(model, layer, pictures, of_class):
    """Class and map of each picture. The classifier without softmax gives the logits."""
    model.layers[-1].activation = None
    both = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        maps, logits = both(pictures, training=False)
        classes = tf.argmax(logits, 1) if of_class is None else tf.fill([len(pictures)], of_class)
        score = tf.gather(logits, classes, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))
    largest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return classes.numpy().tolist(), tf.math.divide_no_nan(heat, largest).numpy().tolist()


def write(folder):
    pictures = draw_data()[0][0][:PICTURES]
    cases = []
    for layer, of_class in CASES:
        model = small_model()
        restore(model, initial_weights(model))
        classes, maps = grad_cam(model, layer, pictures, of_class)
        cases.append({"layer": layer, "class": of_class, "classes": classes, "maps": maps})
    write_json(folder / "saliency.json", {"keras": keras.__version__, "cases": cases}, packed=True)
