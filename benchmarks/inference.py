"""Sequences per second of prediction, beside `keras.layers.LSTM` in a plain model.

`python -m benchmarks.inference`: the paper's network of ours (embedding, 128 units, a hidden
layer: 167,434 weights) beside `LSTM(128)` and `Dense` in stock Keras, both through `predict` and
both exported and loaded as SavedModels. They take turns in one process, untrained; the best of
the rounds counts.
"""

import argparse
import tempfile
import time as clock

import numpy as np
import tensorflow as tf

from aux_keras.serving.export import export_model
from benchmarks import contenders

TIME, BATCHES = 784, (1, 32, 256)


def functions(folder):
    """What predicts a batch of tokens, by name."""
    plain, ours = contenders.make("plain", TIME), contenders.make("lstm_300", TIME)
    plain.export(f"{folder}/plain", verbose=False)
    export_model(ours, f"{folder}/ours")
    plain_served, served = (tf.saved_model.load(f"{folder}/{n}") for n in ("plain", "ours"))

    def predict(model):
        return lambda x: model.predict(x, batch_size=len(x), verbose=0)

    return {
        "plain predict": predict(plain),
        "ours predict": predict(ours),
        "plain SavedModel": lambda x: plain_served.serve(x).numpy(),
        "ours SavedModel": lambda x: served.serve(x, np.full(len(x), TIME, "int32"))[
            "probabilities"
        ].numpy(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        compared = functions(folder)
        print(f"Sequences per second, {TIME} steps, best of {rounds} alternating rounds")
        print(f"{'batch':>5}" + "".join(f"{name:>18}" for name in compared) + "   ratios")
        for batch in BATCHES:
            x = np.random.default_rng(0).random((batch, TIME, 1), "float32")
            best = dict.fromkeys(compared, np.inf)
            for turn in range(rounds + 1):
                for name, function in compared.items():
                    began = clock.perf_counter()
                    function(x)
                    if turn:  # the first one traces
                        best[name] = min(best[name], clock.perf_counter() - began)
            rates = {name: batch / seconds for name, seconds in best.items()}
            ratios = (rates[f"ours {k}"] / rates[f"plain {k}"] for k in ("predict", "SavedModel"))
            print(f"{batch:>5}" + "".join(f"{rate:>18.1f}" for rate in rates.values())
                  + "   " + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
