"""Milliseconds of a training step on words: a vocabulary of 20,000, 200 steps, batch 32.

`python -m benchmarks.words`: models take turns, step by step, in one process; the fastest step of
each, and its ratio to the network without an auxiliary loss. r-LSTM reconstructs 50 words at one
anchor; `fed` decoders read true words, the others half of the time their own.
"""

import time

import keras
import numpy as np

import aux_keras as ak

L = keras.layers
WORDS, TIME, BATCH, UNITS, ROUNDS = 20_000, 200, 32, 64, 8


def network():
    return keras.Sequential(
        [keras.Input((TIME,), dtype="int32"), L.Embedding(WORDS, UNITS), L.LSTM(UNITS),
         L.Dense(5, activation="softmax")]
    )  # fmt: skip


def with_loss(num_sampled, fed):
    loss = ak.Reconstruction(
        segment_length=50, truncation=25, hidden_units=UNITS, drop_rate=0.0, num_sampled=num_sampled
    )
    model = ak.AuxiliaryModel(network(), [loss], sampling_decay_steps=None if fed else 2000)
    model.training_step.assign(1000)
    return model


def main():
    models = {
        "plain Keras": network(),
        "r, fed": with_loss(None, True),
        "r, fed, num_sampled=1000": with_loss(1000, True),
        "r": with_loss(None, False),
        "r, num_sampled=1000": with_loss(1000, False),
    }
    x, y = np.random.default_rng(0).integers(1, WORDS, (BATCH, TIME)), np.zeros(BATCH)
    seconds = {name: [] for name in models}
    for model in models.values():
        model.compile("adam", "sparse_categorical_crossentropy")
        model.train_on_batch(x, y)  # compiles
    for _ in range(ROUNDS):
        for name, model in models.items():
            began = time.perf_counter()
            model.train_on_batch(x, y)
            seconds[name].append(time.perf_counter() - began)
    fastest = {name: min(steps) for name, steps in seconds.items()}
    for name, step in fastest.items():
        print(f"{name:26} {1000 * step:6.0f} ms  {step / fastest['plain Keras']:5.1f}")


if __name__ == "__main__":
    main()
