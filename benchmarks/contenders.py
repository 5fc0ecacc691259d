"""What the benchmarks compare: the paper's models of ours, and what a user would pick instead."""

import keras
import numpy as np
import tensorflow as tf

from aux_keras import AuxiliaryModel, DropConnectDense, TokenEmbedding, TruncatedRNN
from aux_keras import config as configuration
from aux_keras.models import factory

CLASSES, UNITS = 10, 128
OURS = {
    "lstm_full": {"method": "lstm", "supervised_truncation": "full"},
    "lstm_300": {"method": "lstm"},
    "r": {"method": "r"},
    "r_20x30": {"method": "r", "num_anchors": 20, "segment_length": 30, "auxiliary_truncation": 30},
    "p": {"method": "p"},
}
BARE = {
    "embedding_units": 0, "classifier_units": 0, "drop_rate": 0.0, "supervised_truncation": "full",
}  # fmt: skip
BASELINES = {
    "irnn": {"method": "irnn", "units": 100, **BARE},
    "urnn": {"method": "urnn", "units": 512, **BARE},
    "transformer": {"method": "transformer"},
    "tdmca": {
        "method": "tdmca", "transformer_layers": 5, "intermediate_dim": 128,
        "feed_forward": "separable",
    },
}  # fmt: skip
PLAIN = {"plain", "plain_embedded"}
TAGGERS = {  # a label for every step: the layer below it
    "tagger": lambda: TruncatedRNN(keras.layers.LSTM(UNITS, return_sequences=True), 300),
    "plain_tagger": lambda: keras.layers.LSTM(UNITS, return_sequences=True),
    "dense_tagger": lambda: keras.layers.Dense(UNITS),
}


def make(name, time, features=1):
    """A compiled model for sequences of `(time, features)`.

    `plain` is `keras.layers.LSTM` and `Dense` on the tokens themselves; `plain_embedded`
    the paper's network (167,434 weights) in stock Keras layers. Both back-propagate
    through all steps.
    """
    if name in TAGGERS:
        head = keras.layers.Dense(CLASSES, "softmax")
        model = keras.Sequential([keras.Input((time, features)), TAGGERS[name](), head])
    elif name == "r_functional":
        model = functional(time, features)
    elif name in PLAIN:
        body = [keras.layers.LSTM(UNITS), keras.layers.Dense(CLASSES, "softmax")]
        if name == "plain_embedded":
            body = [keras.layers.Dense(UNITS), body[0], keras.layers.Dense(256, "relu"), body[1]]
        model = keras.Sequential([keras.Input((time, features)), *body])
    else:
        config = configuration.ExperimentConfig(**{**OURS, **BASELINES}[name])
        model = factory.build(config, time, features, CLASSES)
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def functional(time, features):
    """`r` as a user would put it together: a Keras model inside an `AuxiliaryModel`."""
    config = configuration.ExperimentConfig(**OURS["r"])
    inputs = keras.Input((time, features))
    embedding = TokenEmbedding(config.embedding_units)
    h = TruncatedRNN(keras.layers.LSTM(UNITS), config.supervised_truncation, embedding)(inputs)
    h = keras.layers.Dense(config.classifier_units, "relu")(h)
    outputs = keras.layers.Softmax()(DropConnectDense(CLASSES, config.drop_rate)(h))
    return AuxiliaryModel(
        keras.Model(inputs, outputs), factory.auxiliary(config, None),
        sampling_decay_steps=config.sampling_decay_steps,
        placement_growth_steps=config.placement_growth_steps,
    )  # fmt: skip


def batch(size, time, features=1, per_step=False):
    """Random tokens `(size, time, features)` and labels `(size,)`, or `(size, time)`."""
    rng = np.random.default_rng(0)
    tokens = rng.random((size, time, features), "float32")
    labels = rng.integers(0, CLASSES, (size, time) if per_step else size)
    return tf.constant(tokens), tf.constant(labels)
