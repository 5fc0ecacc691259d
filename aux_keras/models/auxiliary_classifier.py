"""The model of the paper: a truncated RNN, a classifier, and any auxiliary losses."""

import keras
import tensorflow as tf

from aux_keras.layers import randomness
from aux_keras.layers.arguments import check_truncation
from aux_keras.layers.auxiliary_loss import normalized_auxiliary_loss
from aux_keras.layers.recurrence import map_rows
from aux_keras.layers.scheduled_sampling import teacher_probability
from aux_keras.layers.truncated_rnn import TruncatedRNN, states_at
from aux_keras.models import input_checks
from aux_keras.models.sequence_classifier import SequenceClassifier


class _Kept:
    """Holds what Keras must not track: the arguments of `compile`."""

    def __init__(self, **arguments):
        self.arguments = arguments


@keras.saving.register_keras_serializable("aux_keras")
class AuxiliaryClassifier(SequenceClassifier):
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
            tokens to their own outputs; None to feed true tokens always.
        **kwargs: `drop_per`, `output_initializer`, `seed`, `preprocessing`, see
            `SequenceClassifier`; `name` and `dtype`, see `keras.Model`.

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
        super().__init__(classes, classifier_units, drop_rate, **kwargs)
        check_truncation("supervised_truncation", supervised_truncation)
        names = [task.name for task in auxiliary]
        if len(set(names)) < len(names):
            raise ValueError(f"`auxiliary` needs distinct names. Received: {names}")
        if sampling_decay_steps is not None and sampling_decay_steps < 1:
            raise ValueError(
                "`sampling_decay_steps` must be at least 1, or None. "
                f"Received: {sampling_decay_steps=}"
            )
        self.auxiliary = list(auxiliary)
        self.auxiliary_weight = auxiliary_weight
        self.sampling_decay_steps = sampling_decay_steps
        self.pretraining = False
        self.encoder = TruncatedRNN(
            rnn, supervised_truncation, embedding, dtype=self.dtype_policy, name="encoder"
        )
        logged = [f"{name}_loss" for name in names] if len(names) > 1 else []
        logged += ["auxiliary_loss"] if names else []
        self.trackers.update({name: keras.metrics.Mean(name=name) for name in logged})

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

    def call(self, inputs, training=False):
        tokens, lengths = input_checks.split_inputs(inputs)
        return self.classify(self.encoder(tokens, lengths, training=training), training)

    def forward(self, inputs, key, training):
        """One pass for all losses, with draws from `key`, `(2,)` int32.

        Returns:
            `(probabilities, auxiliary)`: `(batch, classes)`, None while pretraining; and
            per task `(L_i, l_i)`, each `(batch, anchors)`.
        """
        self.ensure_built(inputs)
        tokens, lengths = input_checks.split_inputs(inputs)
        tasks = self.active_tasks()
        keys = [randomness.fold_in(key, i) for i in range(len(tasks) + 1)]
        draws = [
            task.draw(lengths, key, self.feed_probability(), training)
            for task, key in zip(tasks, keys[1:])
        ]
        encoder, embedding = self.encoder.recurrence(), self.embedding

        def run(tokens, lengths, draws):
            requests = [task.window(d) for task, d in zip(tasks, draws)]
            if not self.pretraining:
                requests.append((lengths[:, None], self.encoder.truncation))
            if not training:
                requests = [request and (request[0], 0) for request in requests]
            records = states_at(encoder, tokens, requests)
            losses = [
                task(tokens, d, record, encoder=encoder, embedding=embedding)
                for task, d, record in zip(tasks, draws, records)
            ]
            return [] if self.pretraining else [records[-1][0][:, 0]], losses

        blocks = 1 if self.jit_compile is True else None
        features, auxiliary = map_rows(run, tokens, lengths, draws, blocks=blocks)
        return self.classify(*features, training, keys[0]) if features else None, auxiliary

    def feed_probability(self):
        """Epsilon of scheduled sampling now, or None."""
        if self.sampling_decay_steps is None:
            return None
        return teacher_probability(self.training_step, self.sampling_decay_steps)

    def active_tasks(self):
        """The auxiliary losses of this phase: none where their weight is 0."""
        return self.auxiliary if self.pretraining or self.auxiliary_weight else []

    def losses_of(self, x, y, y_pred, sample_weight, auxiliary):
        """The scalar to differentiate, and every logged loss by name (equations 1 and 2)."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        losses = [normalized_auxiliary_loss(*sums) for sums in auxiliary]
        named = {f"{t.name}_loss": loss for t, loss in zip(self.active_tasks(), losses)}
        named["auxiliary_loss"] = sum(losses)
        if self.pretraining:
            named["loss"] = named["auxiliary_loss"] + sum(self.losses)
            return named["loss"] / replicas, named
        loss, supervised = super().losses_of(x, y, y_pred, sample_weight, auxiliary)
        weighted = self.auxiliary_weight * named["auxiliary_loss"]
        return loss + weighted / replicas, {
            **named, **supervised, "loss": supervised["loss"] + weighted,
        }  # fmt: skip

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`; there is nothing to compare while pretraining."""
        if self.pretraining:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        unused = {"supervised_loss"} if self.pretraining else set()
        if not self.active_tasks():
            unused = set(self.trackers) - {"supervised_loss"}
        return [m for m in super().metrics if m.name not in unused]

    def compile(self, optimizer="rmsprop", loss=None, **arguments):
        """As `keras.Model.compile`."""
        super().compile(optimizer=optimizer, loss=loss, **arguments)
        self._kept = _Kept(optimizer=optimizer, loss=loss, **arguments)

    def pretrain(self, x, optimizer=None, **fit_arguments):
        """Phase 1 (section 3.3): trains on the auxiliary losses alone, without labels.

        The classifier does not move. Afterwards the model is compiled as before, with
        the optimizer given to `compile` and its fresh slots.

        Args:
            x: what `fit` takes; labels are ignored.
            optimizer: Keras optimizer of this phase, by default a new one like that
                given to `compile`.
            **fit_arguments: passed on to `fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: without a call of `compile` before, or without auxiliary losses.
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `pretrain`.")
        if not self.auxiliary:
            raise ValueError("`pretrain` needs an auxiliary loss. Received: auxiliary=[]")
        kept = self._kept.arguments
        if optimizer is None:
            optimizer = keras.optimizers.get(kept["optimizer"])
            optimizer = type(optimizer).from_config(optimizer.get_config())
        unsupervised = {k: v for k, v in kept.items() if k in ("jit_compile", "run_eagerly",
                        "steps_per_execution", "auto_scale_loss")}  # fmt: skip
        self.pretraining = True
        try:
            self._compile_loss = self._compile_metrics = None  # Keras keeps the last ones
            super().compile(optimizer=optimizer, loss=None, **unsupervised)
            return self.fit(input_checks.without_labels(x), **fit_arguments)
        finally:
            self.pretraining = False
            super().compile(**kept)

    def get_config(self):
        encoder = self.encoder.get_config()
        return {
            **super().get_config(),
            "rnn": encoder["rnn"],
            "supervised_truncation": encoder["truncation"],
            "embedding": encoder["embedding"],
            "auxiliary": [keras.saving.serialize_keras_object(t) for t in self.auxiliary],
            "auxiliary_weight": self.auxiliary_weight,
            "sampling_decay_steps": self.sampling_decay_steps,
        }

    @classmethod
    def from_config(cls, config):
        for name in ("rnn", "embedding"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        tasks = config["auxiliary"]
        config["auxiliary"] = [keras.saving.deserialize_keras_object(t) for t in tasks]
        return cls(**config)
