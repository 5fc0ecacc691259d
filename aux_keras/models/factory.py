"""Makes the model of an `ExperimentConfig`; the only place in `models/` that sees one."""

import keras

from aux_keras.config import FULL, SAME
from aux_keras.layers import (
    LanguageModel,
    Prediction,
    Reconstruction,
    SequenceAutoencoder,
    TokenEmbedding,
)
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier

RNNS = {
    "lstm": (keras.layers.LSTM, keras.layers.LSTMCell),
    "gru": (keras.layers.GRU, keras.layers.GRUCell),
    "simple_rnn": (keras.layers.SimpleRNN, keras.layers.SimpleRNNCell),
}


def build(config, time, features, classes, vocabulary=None, preprocessing=None):
    """The built model of a configuration.

    Args:
        config: `ExperimentConfig`.
        time: int, tokens per sequence; None where sequences differ.
        features: int, width of a token; None for characters.
        classes: int.
        vocabulary: int, number of different characters; None for real tokens.
        preprocessing: see `AuxiliaryClassifier`.

    Returns:
        `AuxiliaryClassifier`, not compiled.

    Raises:
        ValueError: if a segment does not fit into a sequence, or characters have no
            embedding.
    """
    policy = keras.DTypePolicy(config.dtype_policy)
    layer, _ = RNNS[config.cell]
    embedding = None
    if config.embedding_units:
        embedding = TokenEmbedding(
            config.embedding_units, vocabulary, dtype=policy, name="embedding"
        )
    elif vocabulary is not None:
        raise ValueError(
            "`embedding_units` must be at least 1 for characters. Received: embedding_units=0"
        )
    model = AuxiliaryClassifier(
        classes=classes,
        rnn=layer(config.units, dtype=policy, name="rnn"),
        supervised_truncation=truncation(config.supervised_truncation),
        classifier_units=config.classifier_units,
        drop_rate=config.drop_rate,
        embedding=embedding,
        auxiliary=auxiliary(config, policy),
        auxiliary_weight=config.auxiliary_weight if config.joint_training else 0.0,
        sampling_decay_steps=config.sampling_decay_steps or None,
        drop_per=config.drop_per,
        seed=config.seed,
        preprocessing=preprocessing,
        dtype=policy,
        name="classifier",
    )
    tokens = (None, time, features) if vocabulary is None else (None, time)
    model.build(tokens if time else {"tokens": tokens, "lengths": (None,)})
    return model


def auxiliary(config, policy):
    """The list of auxiliary losses that `config.method` names."""
    _, cell = RNNS[config.cell]
    readout = {
        "truncation": truncation(config.auxiliary_truncation),
        "hidden_units": config.classifier_units if config.decoder_head == "ffn" else None,
        "drop_rate": config.drop_rate if config.decoder_head == "ffn" else 0.0,
        "drop_per": config.drop_per,
        "dtype": policy,
    }
    segments = {
        "num_anchors": config.num_anchors,
        "segment_length": config.segment_length,
        "decoder_truncation": truncation(config.decoder_truncation),
        **readout,
    }

    def cells(count):
        return [cell(config.decoder_units, dtype=policy) for _ in range(count)]

    def reconstruction():
        return Reconstruction(
            cells(config.decoder_layers), placement=config.placement, reverse=config.reverse,
            feedback=config.feedback, feedback_gradient=config.feedback_gradient, **segments,
        )  # fmt: skip

    def prediction():
        layers = 1 if config.structure == "stacked" else config.decoder_layers
        return Prediction(cells(layers), structure=config.structure, **segments)

    methods = {
        "lstm": [],
        "r": [reconstruction],
        "p": [prediction],
        "rp": [reconstruction, prediction],
        "lm": [lambda: LanguageModel(**readout)],
        "sa": [lambda: SequenceAutoencoder(**readout)],
    }
    return [make() for make in methods[config.method]]


def truncation(value):
    """A truncation flag as the layers take it: `full` is None."""
    return {FULL: None, SAME: SAME}.get(value, value)
