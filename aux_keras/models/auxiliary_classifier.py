"""The model of the paper: a truncated RNN, a classifier, and any auxiliary losses."""

from collections.abc import Sequence
from typing import Any, Self

import keras

from aux_keras.arguments import check_truncation, revive
from aux_keras.layers.truncated_rnn import TruncatedRNN
from aux_keras.models.sequence_classifier import SequenceClassifier


@keras.saving.register_keras_serializable("aux_keras")
class AuxiliaryClassifier(SequenceClassifier):
    """Classifies sequences with an RNN that auxiliary losses teach to remember.

    An `AuxiliaryModel` around the paper's network: a `TruncatedRNN` that reads the tokens
    through their embedding, a hidden layer, a DropConnect layer. Inference is the network
    alone. It trains like any Keras model: `compile`, `pretrain` (optional), `fit`.
    `sample_weight` and `class_weight` weigh the supervised loss; the auxiliary losses need no
    label and take every sequence alike. Sizes are the paper's by default.

    Args:
        classes: int, number of classes.
        rnn: a Keras RNN layer or cell, see `TruncatedRNN`.
        supervised_truncation: int, steps of each sequence's end through which the
            supervised loss is back-propagated; None for all, 0 for none.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        embedding: `TokenEmbedding`, shared with the decoders, or None.
        auxiliary: list of `Reconstruction`, `Prediction`, `LanguageModel` and
            `SequenceAutoencoder`, with distinct names.
        auxiliary_weight: float; with 0 the auxiliary losses are used by `pretrain` alone.
        sampling_decay_steps: int, training steps in which the decoders go from true
            tokens to their own outputs; None to feed true tokens always. A fifth of all
            training steps, as in the paper, suits a run of any length.
        **kwargs: `placement_growth_steps`, `memory_gap`, `seed`, `name`, see `AuxiliaryModel`;
            `drop_per`, `output_initializer`, `activation`, `preprocessing`, see
            `SequenceClassifier`; `dtype`, see `keras.Model`.

    Call arguments:
        inputs: `(batch, time, features)`, or `(batch, time)` integers below the vocabulary size
            of `embedding`; or a dictionary of these `"tokens"` and `"lengths"`, `(batch,)`
            int, the number of valid tokens of each sequence.
        training: bool.

    Returns:
        `(batch, classes)` float32 probabilities.

    Raises:
        ValueError: if an argument or a shape is outside its documented range.

    Example:
        >>> model = AuxiliaryClassifier(
        ...     classes=10, rnn=keras.layers.LSTM(32), supervised_truncation=16,
        ...     classifier_units=64, drop_rate=0.5)
        >>> model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.predict(np.zeros((2, 64, 1)), verbose=0).shape
        (2, 10)

    Reference: Trinh et al. 2018.
    """

    def __init__(
        self, classes: int, rnn: keras.layers.Layer, supervised_truncation: int | None = 300,
        classifier_units: int | None = 256, drop_rate: float = 0.5,
        embedding: keras.layers.Layer | None = None,
        auxiliary: Sequence = (), auxiliary_weight: float = 1.0,
        sampling_decay_steps: int | None = None, dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        check_truncation("supervised_truncation", supervised_truncation)
        for name in ("return_sequences", "return_state"):
            if getattr(rnn, name, False):
                raise ValueError(
                    f"`rnn` must not set `{name}`: the classifier reads the last output alone. For "
                    "another network, put a TruncatedRNN into a Keras model and AuxiliaryModel "
                    f"around it. Received: rnn={rnn!r}"
                )
        encoder = TruncatedRNN(rnn, supervised_truncation, embedding, dtype=dtype, name="encoder")
        super().__init__(
            classes, encoder, classifier_units, drop_rate, auxiliary=auxiliary,
            auxiliary_weight=auxiliary_weight, sampling_decay_steps=sampling_decay_steps,
            dtype=dtype, **kwargs,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        encoder = self.encoder.get_config()
        return {
            **super().get_config(),
            "rnn": encoder["rnn"],
            "supervised_truncation": encoder["truncation"],
            "embedding": encoder["embedding"],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "rnn", "embedding", "auxiliary"))
