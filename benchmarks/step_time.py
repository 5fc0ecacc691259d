"""Milliseconds of a training step, beside `keras.layers.LSTM` trained plainly.

`python -m benchmarks.step_time`: all models take turns, step by step, in one process;
medians, ratios to both plain models, and where the time of ours goes: the forward run of
the prefix, the windows of back-propagation, and the rest (decoders, heads, optimizer).
First the machine: how many matrix products of the size that an LSTM of 128 units needs it
does on one core, as the plain LSTM does, and on all of them, as ours do.
"""

import argparse
import concurrent.futures
import statistics
import time as clock

import tensorflow as tf

from aux_keras.scan.rows import core_count, map_rows
from aux_keras.scan.windows import states_at
from benchmarks import contenders

SETTINGS = ((784, 128), (4096, 32), (16384, 32))  # time steps, batch


def parts(model, data):
    """Functions that run the prefix alone, and prefix and windows with gradient."""
    tokens, _ = data
    lengths = tf.fill([tokens.shape[0]], tokens.shape[1])
    draws = [task.draw(lengths, model.key(1), None, True) for task in model.auxiliary]
    requests = [task.window(d) for task, d in zip(model.auxiliary, draws)]
    requests.append((lengths[:, None], model.layer.truncation))
    truncations = [k for _, k in requests]
    counts = [c for c, _ in requests]

    def run(kept):
        encoder = model.layer.recurrence()
        return map_rows(lambda x, c: states_at(encoder, x, list(zip(c, kept))), tokens, counts)

    @tf.function
    def prefix():
        encoder, needed = model.layer.recurrence(), tokens.shape[1] - min(truncations)
        starts = [tf.clip_by_value(c - k, 0, needed) for c, k in requests]
        return map_rows(
            lambda x, c: states_at(encoder, x, [(n, 0) for n in c]), tokens[:, :needed], starts
        )

    @tf.function
    def windows():
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(s) for record in run(truncations) for s in record)
        weights = model.layer.trainable_weights
        return [g for g in tape.gradient(loss, weights) if g is not None]

    return (windows,) if None in truncations else (windows, prefix)


@tf.function(jit_compile=True)
def many_products(x, kernel, count):
    """Sum of `count` matrix products, one after the other as in a recurrent network."""
    loop = (0, tf.zeros((x.shape[0], kernel.shape[1])))
    return tf.while_loop(
        lambda t, _: t < count, lambda t, y: (t + 1, y + (x + y[0, 0]) @ kernel), loop
    )[1]


def product_rate(threads, count=2000):
    """GFLOP/s of matrix products in so many threads."""
    x, kernel = tf.ones((64, 128)), tf.ones((128, 512)) / 1e4

    def run(_):
        return many_products(x, kernel, count).numpy()

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
        began = clock.perf_counter()
        list(pool.map(run, range(threads)))
    operations = 2 * threads * count * x.shape[0] * kernel.shape[0] * kernel.shape[1]
    return operations / (clock.perf_counter() - began) / 1e9


def seconds(function):
    began = clock.perf_counter()
    for tensor in tf.nest.flatten(function()):
        if tf.is_tensor(tensor):
            tensor.numpy()
    return clock.perf_counter() - began


def measure(names, time, batch, rounds):
    """Median seconds by name; of ours also of `name/windows` and `name/prefix`."""
    data, calls = contenders.batch(batch, time), {}
    for name in names:
        model = contenders.make(name, time)
        calls[name] = lambda model=model: model.train_on_batch(*data)
        if name not in contenders.PLAIN:
            for function, part in zip(parts(model, data), ("windows", "prefix")):
                calls[f"{name}/{part}"] = function
    for function in calls.values():
        function()
        function()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, function in calls.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, nargs="*", default=[time for time, _ in SETTINGS])
    arguments = parser.parse_args()
    names = ("plain", "plain_embedded", *contenders.OURS, "r_functional")
    one, all_ = product_rate(1), product_rate(core_count())
    print(f"Matrix products: {one:.0f} GFLOP/s on one core, {all_:.0f} on {core_count()}")
    for time, batch in SETTINGS:
        if time not in arguments.times:
            continue
        medians = measure(names, time, batch, arguments.rounds)
        print(f"{time} steps, batch {batch}, median of {arguments.rounds} alternating rounds")
        print("model            step ms  /plain  /plain_embedded   prefix  windows     rest")
        for name in names:
            step = medians[name]
            line = f"{name:16}{1e3 * step:8.0f}{step / medians['plain']:8.2f}"
            line += f"{step / medians['plain_embedded']:17.2f}"
            if f"{name}/windows" in medians:
                both, prefix = medians[f"{name}/windows"], medians.get(f"{name}/prefix", 0.0)
                for part in (prefix, both - prefix, step - both):
                    line += f"{1e3 * part:9.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
