"""optimizers.*: ten updates of two variables by given gradients, and learning-rate schedules."""

import keras
import numpy as np
import tensorflow as tf

from .common import Golden, generator, normal

STEPS = 10
SHAPES = {"kernel": (3, 4), "bias": (5,)}


def cases():
    """Yields (name, optimizer, names of variables kept from weight decay)."""
    O = keras.optimizers
    yield "sgd", O.SGD(0.01), []
    yield "sgd_momentum", O.SGD(0.01, momentum=0.9), []
    yield "sgd_nesterov", O.SGD(0.01, momentum=0.9, nesterov=True), []
    yield "sgd_weight_decay", O.SGD(0.01, weight_decay=0.1), []
    yield "sgd_momentum_weight_decay", O.SGD(0.01, momentum=0.9, weight_decay=0.1), []
    yield "sgd_clipnorm", O.SGD(0.01, clipnorm=1.0), []
    yield "sgd_clipvalue", O.SGD(0.01, clipvalue=0.5), []
    yield "sgd_global_clipnorm", O.SGD(0.01, global_clipnorm=1.5), []
    yield "sgd_everything", O.SGD(0.01, 0.9, True, weight_decay=0.1, clipnorm=1.0), []
    yield "sgd_cosine", O.SGD(O.schedules.CosineDecay(0.1, 8), momentum=0.9, weight_decay=0.1), []
    yield "sgd_ema", O.SGD(0.01, momentum=0.9, weight_decay=0.1, use_ema=True, ema_momentum=0.8), []
    yield "adam_ema_overwrite", O.Adam(0.01, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3), []
    yield "rmsprop", O.RMSprop(), []
    yield "rmsprop_rho", O.RMSprop(0.01, rho=0.8), []
    yield "rmsprop_momentum", O.RMSprop(0.01, momentum=0.9), []
    yield "rmsprop_centered", O.RMSprop(0.01, centered=True), []
    yield "rmsprop_centered_momentum", O.RMSprop(0.01, momentum=0.9, centered=True), []
    yield "rmsprop_weight_decay", O.RMSprop(0.01, weight_decay=0.1), []
    yield "adam", O.Adam(), []
    yield "adam_rate", O.Adam(0.01), []
    yield "adam_amsgrad", O.Adam(0.01, amsgrad=True), []
    yield "adam_betas_epsilon", O.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3), []
    yield "adamw", O.AdamW(), []
    yield "adamw_weight_decay", O.AdamW(0.01, weight_decay=0.01), []
    yield "sgd_accumulation", O.SGD(0.01, momentum=0.9, weight_decay=0.1, gradient_accumulation_steps=4), []
    yield "sgd_cosine_accumulation", O.SGD(O.schedules.CosineDecay(0.1, 8), gradient_accumulation_steps=2), []
    yield "rmsprop_accumulation_clipnorm", O.RMSprop(0.01, gradient_accumulation_steps=2, global_clipnorm=0.5), []
    yield "adam_accumulation", O.Adam(0.01, gradient_accumulation_steps=3), []
    yield "adamw_weight_decay_excluded", O.AdamW(0.01, weight_decay=0.01), ["bias"]


def gradients(rng, shape):
    """Mixed sizes: some clipped, one always zero, one so small that epsilon rules it; the scale varies by step."""
    values = normal(rng, (STEPS, *shape)) * rng.uniform(0.1, 1.5, (STEPS,) + (1,) * len(shape))
    flat = values.reshape(STEPS, -1).astype("float32")
    flat[:, 1] = 0
    flat[:, 2] *= 1e-6
    return flat.reshape(STEPS, *shape)


def add_optimizers(golden):
    initial = {name: normal(generator(f"optimizers/{name}"), shape) for name, shape in SHAPES.items()}
    steps = {name: gradients(generator(f"optimizers/{name}/gradients"), shape) for name, shape in SHAPES.items()}
    for name in SHAPES:
        golden.put(f"initial/{name}", initial[name])
        golden.put(f"gradients/{name}", steps[name])
    for case, optimizer, excluded in cases():
        variables = {name: keras.Variable(value, name=name) for name, value in initial.items()}
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        history = {name: [] for name in SHAPES}
        for step in range(STEPS):
            optimizer.apply([tf.constant(steps[n][step]) for n in SHAPES], list(variables.values()))
            for name, variable in variables.items():
                history[name].append(variable.numpy())
        for name in SHAPES:
            golden.put(f"{case}/variables/{name}", np.stack(history[name]))
        state = []
        for index, variable in enumerate(optimizer.variables):
            value = variable.numpy()
            golden.put(f"{case}/state/{index}", value.astype("int32") if value.dtype == "int64" else value)
            state.append({"name": variable.name, "shape": list(variable.shape), "dtype": variable.dtype})
        golden.json["optimizers"].append(
            {
                "name": case,
                "optimizer": type(optimizer).__name__,
                "config": optimizer.get_config(),
                "excluded_from_weight_decay": excluded,
                "state": state,
            }
        )
        keras.backend.clear_session()  # the next optimizer is called "sgd", not "sgd_9"


def add_schedules(golden):
    S = keras.optimizers.schedules
    for name, schedule in [
        ("cosine", S.CosineDecay(0.1, 15)),
        ("cosine_alpha", S.CosineDecay(0.1, 15, alpha=0.1)),
        ("cosine_warmup", S.CosineDecay(0.01, 12, alpha=0.05, warmup_target=0.2, warmup_steps=4)),
        ("exponential", S.ExponentialDecay(0.1, 4, 0.5)),
        ("exponential_staircase", S.ExponentialDecay(0.1, 4, 0.5, staircase=True)),
        ("inverse_time", S.InverseTimeDecay(0.1, 4, 0.5)),
        ("inverse_time_staircase", S.InverseTimeDecay(0.1, 4, 0.5, staircase=True)),
        ("polynomial", S.PolynomialDecay(0.1, 8, end_learning_rate=0.01, power=0.5)),
        ("polynomial_cycle", S.PolynomialDecay(0.1, 6, cycle=True)),
        ("cosine_restarts", S.CosineDecayRestarts(0.1, 3, alpha=0.1, m_mul=0.8)),
        ("cosine_restarts_even", S.CosineDecayRestarts(0.1, 4, t_mul=1.0)),
        ("piecewise_constant", S.PiecewiseConstantDecay([5, 12], [0.1, 0.01, 0.001])),
    ]:
        golden.json["schedules"].append(
            {
                "name": name,
                "schedule": type(schedule).__name__,
                "config": schedule.get_config(),
                "values": [float(schedule(step)) for step in range(21)],
            }
        )


def write(folder):
    golden = Golden("optimizers", steps=STEPS, optimizers=[], schedules=[])
    add_optimizers(golden)
    add_schedules(golden)
    golden.write(folder)
