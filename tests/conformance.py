"""One case per public layer; `test_conformance.py` holds each to the same promises."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import aux_keras as ak

LSTMCell = keras.layers.LSTMCell


@dataclasses.dataclass(frozen=True)
class Case:
    """How to make a layer, and inputs for it."""

    make: Callable[..., keras.layers.Layer]
    inputs: Callable[[], Any]
    trains: bool = True  # maps one float tensor to another, so that it can stand in a model


def tokens(batch=3, time=7, features=2):
    return np.random.default_rng(0).normal(size=(batch, time, features)).astype("float32")


def one_step(name="inputs"):
    return {name: tokens()[:, 0], "states": [np.full((3, 4), 0.5, "float32")]}


CASES = {
    "TokenEmbedding": Case(lambda **k: ak.TokenEmbedding(4, **k), tokens),
    "TokenReadout": Case(
        lambda **k: ak.TokenReadout(4, hidden_units=8, drop_rate=0.5, drop_per="batch", **k), tokens
    ),
    "LanguageModel": Case(
        lambda **k: ak.LanguageModel(3, hidden_units=8, drop_rate=0.25, drop_per="batch", **k),
        lambda: None, trains=False,
    ),
    "SequenceAutoencoder": Case(
        lambda **k: ak.SequenceAutoencoder(
            3, hidden_units=None, drop_rate=0.25, drop_per="batch", **k
        ),
        lambda: None, trains=False,
    ),
    "DropConnectDense": Case(
        lambda **k: ak.DropConnectDense(4, rate=0.5, per="batch", seed=1, **k), tokens
    ),
    "TruncatedRNN": Case(
        lambda **k: ak.TruncatedRNN(
            keras.layers.LSTM(5, dtype=k.get("dtype")), truncation=3,
            embedding=ak.TokenEmbedding(4, dtype=k.get("dtype")), **k,
        ),
        tokens,
    ),
    "AnchorSampler": Case(
        lambda **k: ak.AnchorSampler(2, 3, "past", seed=1, **k),
        lambda: np.array([5, 6, 7]), trains=False,
    ),
    "IRNNCell": Case(
        lambda **k: ak.IRNNCell(4, stddev=0.1, **k), lambda: one_step("sequence"), trains=False
    ),
    "URNNCell": Case(lambda **k: ak.URNNCell(2, seed=1, **k), one_step, trains=False),
    "SelfAttention": Case(lambda **k: ak.SelfAttention(1, **k), tokens),
    "LocalAttention": Case(lambda **k: ak.LocalAttention(1, block=3, margin=2, **k), tokens),
    "MemoryCompressedAttention": Case(lambda **k: ak.MemoryCompressedAttention(1, 3, **k), tokens),
    "TransformerBlock": Case(
        lambda **k: ak.TransformerBlock(
            ak.SelfAttention(1, dtype=k.get("dtype")), 4, 0.5, kernel_sizes=[3, 5], seed=1, **k
        ),
        tokens,
    ),
    "TransformerEncoder": Case(
        lambda **k: ak.TransformerEncoder(
            ak.TokenEmbedding(4, dtype=k.get("dtype")),
            [ak.TransformerBlock(ak.SelfAttention(1, dtype=k.get("dtype")), 4, 0.5,
                                 dtype=k.get("dtype"))],
            drop_rate=0.25, seed=1, **k,
        ),
        tokens,
    ),
    "SegmentDecoder": Case(
        lambda **k: ak.SegmentDecoder(
            [LSTMCell(5), LSTMCell(6)], hidden_units=8, drop_rate=0.5, truncation=3,
            drop_per="batch", feedback="argmax", feedback_gradient=True, **k,
        ),
        lambda: {"segments": tokens(), "states": [tokens()[:, 0, :1] * np.ones(5, "f")] * 2},
        trains=False,
    ),
    "Reconstruction": Case(
        lambda **k: ak.Reconstruction(
            [LSTMCell(5)], num_anchors=2, segment_length=3, truncation=4, hidden_units=8,
            drop_rate=0.25, placement="past", reverse=False, decoder_truncation=2,
            drop_per="batch", feedback="argmax", feedback_gradient=True, **k,
        ),
        lambda: None, trains=False,
    ),
    "Prediction": Case(
        lambda **k: ak.Prediction(
            [LSTMCell(5)], num_anchors=2, segment_length=3, truncation=None, hidden_units=8,
            drop_rate=0.25, structure="decoder", decoder_truncation=2, drop_per="batch", **k,
        ),
        lambda: None, trains=False,
    ),
}  # fmt: skip
