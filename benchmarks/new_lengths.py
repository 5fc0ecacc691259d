"""Seconds of the first epochs of sequences of 20 lengths, of which each may have to be compiled.

python -m benchmarks.new_lengths

20 and 100 batches of 32 sequences of 100, 110 ... 290 steps through `LSTM(64)` and `Dense`: Keras's
own layer, a `TruncatedRNN` of 50 steps, and one that is not truncated. A process for each.
"""

import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from aux_keras import TruncatedRNN

LENGTHS, BATCH = range(100, 300, 10), 32


def layer(name):
    """The recurrent layer of a row of the table."""
    if name == "keras":
        return keras.layers.LSTM(64)
    return TruncatedRNN(keras.layers.LSTM(64), truncation=50 if name == "truncated" else None)


def batches(count):
    """Batches whose length changes every time."""
    rng = np.random.default_rng(0)
    for index in range(count):
        time = LENGTHS[index % len(LENGTHS)]
        yield rng.random((BATCH, time, 1), "float32"), rng.integers(0, 2, BATCH)


def measure(name, count):
    """Prints the seconds of two epochs of so many batches."""
    inputs = keras.Input((None, 1))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(layer(name)(inputs)))
    model.compile("adam", "sparse_categorical_crossentropy")
    shapes = tf.TensorSpec((BATCH, None, 1)), tf.TensorSpec((BATCH,), tf.int64)
    data = tf.data.Dataset.from_generator(lambda: batches(count), output_signature=shapes)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        model.fit(data, verbose=0)
        seconds.append(time.perf_counter() - began)
    print(f"{name:12}{count:8}{seconds[0]:8.1f}{seconds[1]:8.1f}", flush=True)


def main():
    """Measures one row in this process, or every row in one of its own."""
    if len(sys.argv) > 1:
        measure(sys.argv[1], int(sys.argv[2]))
        return
    print(f"{'layer':12}{'batches':>8}{'first':>8}{'second':>8}", flush=True)
    for count in ("20", "100"):
        for name in ("keras", "truncated", "full"):
            command = [sys.executable, "-m", "benchmarks.new_lengths", name, count]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
