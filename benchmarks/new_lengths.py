"""Seconds of the first epochs of sequences of 20 lengths, of which each may have to be compiled.

python -m benchmarks.new_lengths

20 and 100 batches of 32 sequences of 100, 110 ... 290 steps through an LSTM and `Dense`: Keras's
own layer, a `TruncatedRNN` of 50 steps, and one that is not truncated. Two processes for each: the
second one finds what XLA has compiled in the first, in `--tf_xla_persistent_cache_directory`.
"""

import os
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from aux_keras import TruncatedRNN

LENGTHS, BATCH = range(100, 300, 10), 32


def layer(name, units):
    """The recurrent layer of a row of the table."""
    lstm = keras.layers.LSTM(units)
    if name == "keras":
        return lstm
    return TruncatedRNN(lstm, truncation=50 if name == "truncated" else None)


def batches(count):
    """Batches whose length changes every time."""
    rng = np.random.default_rng(0)
    for index in range(count):
        time = LENGTHS[index % len(LENGTHS)]
        yield rng.random((BATCH, time, 1), "float32"), rng.integers(0, 2, BATCH)


def measure(name, units, count):
    """Prints the seconds of two epochs of so many batches."""
    inputs = keras.Input((None, 1))
    outputs = keras.layers.Dense(2, activation="softmax")(layer(name, units)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    shapes = tf.TensorSpec((BATCH, None, 1)), tf.TensorSpec((BATCH,), tf.int64)
    data = tf.data.Dataset.from_generator(lambda: batches(count), output_signature=shapes)
    for _ in range(2):
        began = time.perf_counter()
        model.fit(data, verbose=0)
        print(time.perf_counter() - began)


def row(*options):
    """Seconds of two epochs in each of two processes, of which the second finds a cache."""
    with tempfile.TemporaryDirectory() as folder:
        cache = f"--tf_xla_persistent_cache_directory={folder}"
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.new_lengths", *options],
                env={**os.environ, "TF_XLA_FLAGS": cache}, stdout=subprocess.PIPE, text=True,
                check=True,
            )  # fmt: skip
            yield from map(float, done.stdout.split())


def main():
    """Measures in this process what is named, or every row in processes of its own."""
    if len(sys.argv) > 1:
        name, units, count = sys.argv[1:]
        measure(name, int(units), int(count))
        return
    names = ("layer", "units", "batches", "first", "second", "cached")
    print("".join(f"{name:>10}" for name in names), flush=True)
    for units in ("64", "128"):
        for count in ("20", "100"):
            for name in ("keras", "truncated", "full"):
                first, second, cached, _ = row(name, units, count)
                texts = (name, units, count, *(f"{s:.1f}" for s in (first, second, cached)))
                print("".join(f"{text:>10}" for text in texts), flush=True)


if __name__ == "__main__":
    main()
