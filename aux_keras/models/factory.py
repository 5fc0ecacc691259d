"""Makes the model of an `ExperimentConfig`; the only place in `models/` that sees one."""

import itertools

import keras
import numpy as np

from aux_keras.attention import (
    LocalAttention,
    MemoryCompressedAttention,
    SelfAttention,
    TransformerBlock,
)
from aux_keras.cells import IRNNCell, URNNCell
from aux_keras.config import ATTENTION, FULL
from aux_keras.layers import TokenEmbedding
from aux_keras.losses import LanguageModel, Prediction, Reconstruction, SequenceAutoencoder
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier
from aux_keras.models.transformer_classifier import TransformerClassifier

KERAS_RNNS = {
    "lstm": (keras.layers.LSTM, keras.layers.LSTMCell),
    "gru": (keras.layers.GRU, keras.layers.GRUCell),
    "simple_rnn": (keras.layers.SimpleRNN, keras.layers.SimpleRNNCell),
}
KERNEL_SIZES = {"dense": None, "separable": (3, 31)}


def build(config, time, features, classes, vocabulary_size=None, preprocessing=None):
    """The built model of a configuration.

    Args:
        config: `ExperimentConfig`.
        time: int, tokens per sequence; None where sequences differ.
        features: int, width of a token; None for characters.
        classes: int.
        vocabulary_size: int, number of different characters; None for real tokens.
        preprocessing: see `SequenceClassifier`.

    Returns:
        `AuxiliaryClassifier` or `TransformerClassifier`, not compiled.

    Raises:
        ValueError: if a segment does not fit into a sequence, or characters have no
            embedding, or a Transformer has one of another width.
    """
    policy = keras.DTypePolicy(config.dtype_policy)
    embedding = None
    if config.embedding_units:
        embedding = TokenEmbedding(
            config.embedding_units, vocabulary_size, dtype=policy, name="embedding"
        )
    elif vocabulary_size is not None:
        raise ValueError(
            "`embedding_units` must be at least 1 for characters. Received: embedding_units=0"
        )
    make = transformer if config.method in ATTENTION else recurrent
    model = make(
        config, policy, classes=classes, embedding=embedding,
        classifier_units=config.classifier_units or None, drop_rate=config.drop_rate,
        drop_per=config.drop_per, seed=config.seed, preprocessing=preprocessing, dtype=policy,
        name="classifier",
    )  # fmt: skip
    tokens = (None, time, features) if vocabulary_size is None else (None, time)
    model.build(tokens if time else {"tokens": tokens, "lengths": (None,)})
    return model


def recurrent(config, policy, **arguments):
    """A recurrent network with the auxiliary losses of `config.method`, if it names any."""
    if config.method == "irnn":
        arguments["output_initializer"] = keras.initializers.RandomNormal(stddev=config.irnn_stddev)
    return AuxiliaryClassifier(
        rnn=rnn(config, policy),
        supervised_truncation=truncation(config.supervised_truncation),
        auxiliary=auxiliary(config, policy),
        auxiliary_weight=config.auxiliary_weight if config.joint_training else 0.0,
        sampling_decay_steps=config.sampling_decay_steps or None,
        placement_growth_steps=config.placement_growth_steps,
        memory_gap=config.memory_gap,
        **arguments,
    )


def transformer(config, policy, **arguments):
    """A Transformer, or T-DMCA: local and memory-compressed attention in turn."""
    if config.embedding_units != config.units:
        raise ValueError(
            "`embedding_units` must equal `units`, the width of the Transformer. "
            f"Received: embedding_units={config.embedding_units}, units={config.units}"
        )

    def attention(index):
        if config.method == "transformer":
            return SelfAttention(config.num_heads, dtype=policy)
        if index % 2 == 0:
            block, margin = config.attention_block, config.attention_margin
            return LocalAttention(config.num_heads, block, margin, dtype=policy)
        return MemoryCompressedAttention(config.num_heads, config.compression, dtype=policy)

    blocks = [
        TransformerBlock(
            attention(index), config.intermediate_dim, config.transformer_drop_rate,
            KERNEL_SIZES[config.feed_forward], dtype=policy,
        )
        for index in range(config.transformer_layers)
    ]  # fmt: skip
    return TransformerClassifier(
        blocks=blocks, input_drop_rate=config.transformer_drop_rate, **arguments
    )


def rnn(config, policy):
    """The main recurrent layer."""
    if cell_name(config) in KERAS_RNNS:
        return KERAS_RNNS[config.cell][0](config.units, dtype=policy, name="rnn")
    return keras.layers.RNN(cell(config, policy, config.units), dtype=policy, name="rnn")


def cell_name(config):
    """The recurrent cell: `--method=irnn` and `urnn` name it themselves."""
    return config.method if config.method in ("irnn", "urnn") else config.cell


def cell(config, policy, units, index=0):
    """A recurrent cell: of the main RNN, index 0, or of a decoder."""
    name = cell_name(config)
    if name == "irnn":
        return IRNNCell(units, config.irnn_stddev, dtype=policy)
    if name == "urnn":
        seed = np.random.SeedSequence([config.seed, index]).generate_state(1)
        return URNNCell(units, seed=int(seed[0]), dtype=policy)
    return KERAS_RNNS[name][1](units, dtype=policy)


def auxiliary(config, policy):
    """The list of auxiliary losses that `config.method` names."""
    hidden = config.classifier_units if config.decoder_head == "ffn" else 0
    readout = {
        "truncation": truncation(config.auxiliary_truncation),
        "hidden_units": hidden or None,
        "drop_rate": config.drop_rate if hidden else 0.0,
        "drop_per": config.drop_per,
        "dtype": policy,
    }
    segments = {
        "num_anchors": config.num_anchors,
        "segment_length": config.segment_length,
        "decoder_truncation": truncation(config.decoder_truncation),
        **readout,
    }

    indices = itertools.count(1)

    def cells(count):
        return [cell(config, policy, config.decoder_units, next(indices)) for _ in range(count)]

    def reconstruction():
        return Reconstruction(
            cells(config.decoder_layers), placement=config.placement, reverse=config.reverse,
            feedback=config.feedback, feedback_gradient=config.feedback_gradient, **segments,
        )  # fmt: skip

    def prediction():
        layers = 1 if config.structure == "stacked" else config.decoder_layers
        return Prediction(cells(layers), structure=config.structure, **segments)

    methods = {
        "r": [reconstruction],
        "p": [prediction],
        "rp": [reconstruction, prediction],
        "lm": [lambda: LanguageModel(**readout)],
        "sa": [lambda: SequenceAutoencoder(**readout)],
    }
    return [make() for make in methods.get(config.method, [])]  # a baseline has none


def truncation(value):
    """A truncation flag as the layers take it: `full` is None."""
    return None if value == FULL else value
