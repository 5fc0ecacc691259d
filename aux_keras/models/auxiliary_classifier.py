"""The model of the paper: a truncated RNN, a classifier, and any auxiliary losses."""

import keras
import tensorflow as tf

from aux_keras.layers import randomness
from aux_keras.layers.arguments import check_truncation, revive
from aux_keras.layers.truncated_rnn import TruncatedRNN
from aux_keras.models import input_checks
from aux_keras.models.auxiliary_training import AuxiliaryTraining
from aux_keras.models.memory_gap import Reading
from aux_keras.models.sequence_classifier import SequenceClassifier


@keras.saving.register_keras_serializable("aux_keras")
class AuxiliaryClassifier(AuxiliaryTraining, SequenceClassifier):
    """Classifies sequences with an RNN that auxiliary losses teach to remember.

    Training minimizes `supervised + auxiliary_weight * auxiliary` (section 3.3), with
    every loss back-propagated through its own few steps of the RNN only. Inference is
    the RNN and the classifier alone. It trains like any Keras model: `compile`,
    `pretrain` (optional), `fit`. `sample_weight` and `class_weight` weigh the supervised
    loss; the auxiliary losses need no label and take every sequence alike.

    All randomness is a function of (`seed`, `training_step`, replica), and
    `training_step` is saved with the weights and counts over all phases.

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
        **kwargs: `placement_growth_steps`, `memory_gap`, see `AuxiliaryTraining`; `drop_per`,
            `output_initializer`, `seed`, `preprocessing`, see `SequenceClassifier`; `name` and
            `dtype`, see `keras.Model`.

    Call arguments:
        inputs: `(batch, time, features)`, or `(batch, time)` integers below the vocabulary
            of `embedding`; or a dictionary of these `"tokens"` and `"lengths"`, `(batch,)`
            int, the number of valid tokens of each sequence.
        training: bool.

    Returns:
        `(batch, classes)` float32 probabilities.

    Raises:
        ValueError: on arguments or shapes outside what is said above.

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
        self, classes, rnn, supervised_truncation, classifier_units, drop_rate, embedding=None,
        auxiliary=(), auxiliary_weight=1.0, sampling_decay_steps=None, **kwargs,
    ):  # fmt: skip
        super().__init__(
            classes, classifier_units, drop_rate, auxiliary=auxiliary,
            auxiliary_weight=auxiliary_weight, sampling_decay_steps=sampling_decay_steps, **kwargs,
        )  # fmt: skip
        check_truncation("supervised_truncation", supervised_truncation)
        self.encoder = TruncatedRNN(
            rnn, supervised_truncation, embedding, dtype=self.dtype_policy, name="encoder"
        )

    @property
    def embedding(self):
        """The `TokenEmbedding` that the RNN and the decoders share, or None."""
        return self.encoder.embedding

    def build(self, inputs_shape):
        input_checks.check_shapes(inputs_shape, self.vocabulary)
        ragged = isinstance(inputs_shape, dict)
        tokens_shape = inputs_shape["tokens"] if ragged else inputs_shape
        if not ragged:
            input_checks.check_segments(self.auxiliary, tokens_shape[1])
        cell, embedding = self.encoder.cell, self.embedding
        self.features = None if self.vocabulary else tokens_shape[-1]
        self.encoder.build(tokens_shape)
        self.build_classifier(cell.output_size)
        for task in self.auxiliary:
            task.build_task(
                self.vocabulary or tokens_shape[-1], tf.nest.flatten(cell.state_size),
                cell.output_size, None if embedding is None else embedding.units,
                characters=self.vocabulary is not None,
            )  # fmt: skip
        self.built = True

    def inference_layers(self):
        return [self.encoder, *self.head]

    def recurrent_weights(self):
        return self.encoder.rnn.weights

    def call(self, inputs, training=False):
        tokens, lengths = input_checks.split_inputs(inputs)
        return self.classify(self.encoder(tokens, lengths, training=training), training)

    def forward(self, inputs, key, training):
        """One pass for all losses, with draws from `key`, `(2,)` int32.

        Returns:
            `(probabilities, auxiliary)`: `(batch, classes)`, None while pretraining; and
            `Losses` per task.
        """
        reading = self.reading(inputs)
        ends = False if self.pretraining else self.encoder.truncation
        features, auxiliary = self.run_tasks(reading, key, training, ends)
        head_key = randomness.fold_in(key, 0)
        return self.classify(*features, training, head_key) if features else None, auxiliary

    def reading(self, inputs):
        """See `Reading`."""
        self.ensure_built(inputs)
        tokens, lengths = input_checks.split_inputs(inputs)
        return Reading(self.encoder.recurrence(), self.embedding, tokens, tokens, lengths)

    def get_config(self):
        encoder = self.encoder.get_config()
        return {
            **super().get_config(),
            "rnn": encoder["rnn"],
            "supervised_truncation": encoder["truncation"],
            "embedding": encoder["embedding"],
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive(config, "rnn", "embedding", "auxiliary"))
