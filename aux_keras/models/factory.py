"""Makes the model of an `ExperimentConfig`; the only place in `models/` that sees one."""

import keras

from aux_keras.config import FULL, SAME
from aux_keras.layers import Prediction, Reconstruction, TokenEmbedding
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier

RNNS = {
    "lstm": (keras.layers.LSTM, keras.layers.LSTMCell),
    "gru": (keras.layers.GRU, keras.layers.GRUCell),
    "simple_rnn": (keras.layers.SimpleRNN, keras.layers.SimpleRNNCell),
}


def build(config, time, features, classes, preprocessing=None):
    """The built model of a configuration.

    Args:
        config: `ExperimentConfig`.
        time: int, tokens per sequence.
        features: int, width of a token.
        classes: int.
        preprocessing: see `AuxiliaryClassifier`.

    Returns:
        `AuxiliaryClassifier`, not compiled.

    Raises:
        ValueError: if a segment does not fit into a sequence.
    """
    policy = keras.DTypePolicy(config.dtype_policy)
    layer, _ = RNNS[config.cell]
    embedding = None
    if config.embedding_units:
        embedding = TokenEmbedding(config.embedding_units, dtype=policy, name="embedding")
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
    model.build((None, time, features))
    return model


def auxiliary(config, policy):
    """The list of auxiliary losses that `config.method` names."""
    _, cell = RNNS[config.cell]
    common = {
        "num_anchors": config.num_anchors,
        "segment_length": config.segment_length,
        "truncation": truncation(config.auxiliary_truncation),
        "hidden_units": config.classifier_units,
        "drop_rate": config.drop_rate,
        "drop_per": config.drop_per,
        "decoder_truncation": truncation(config.decoder_truncation),
        "dtype": policy,
    }

    def cells(count):
        return [cell(config.decoder_units, dtype=policy) for _ in range(count)]

    tasks = []
    if config.method in ("r", "rp"):
        tasks.append(
            Reconstruction(
                cells(config.decoder_layers),
                placement=config.placement,
                reverse=config.reverse,
                feedback_gradient=config.feedback_gradient,
                **common,
            )
        )
    if config.method in ("p", "rp"):
        layers = 1 if config.structure == "stacked" else config.decoder_layers
        tasks.append(Prediction(cells(layers), structure=config.structure, **common))
    return tasks


def truncation(value):
    """A truncation flag as the layers take it: `full` is None."""
    return {FULL: None, SAME: SAME}.get(value, value)
