"""What all classifiers of sequences share: the head, the training step, and its clock."""

import keras
import tensorflow as tf

from aux_keras.layers import randomness
from aux_keras.layers.drop_connect import DropConnectDense
from aux_keras.models import input_checks

TRAINING, EVALUATION = 0, 1  # first component of a key: draws of the two never coincide


class SequenceClassifier(input_checks.CheckedModel):
    """A classifier of sequences whose draws are functions of its saved clock.

    Subclasses have an `embedding` (`TokenEmbedding` or None), and make features of
    sequences in `call` and, from a random key, in `forward`; the classifier on top, the
    training step and what it logs are here. All randomness is a function of (`seed`,
    `training_step`, replica), and `training_step` is saved with the weights and counts
    over all phases.

    Args:
        classes: int, number of classes.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        output_initializer: initializer of the last layer's kernel.
        seed: int.
        preprocessing: dictionary of JSON values that says how the tokens were made of raw
            data (a permutation, a scale); kept and saved for whoever serves the model.

    Raises:
        ValueError: on arguments outside what is said above.
    """

    auxiliary = ()  # losses to pretrain with

    def __init__(
        self, classes, classifier_units, drop_rate, drop_per="example",
        output_initializer="glorot_uniform", seed=0, preprocessing=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        for name, value, least in (("classes", classes, 1), ("seed", seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}"
                )
        self.classes = classes
        self.classifier_units = classifier_units
        self.seed = seed
        self.preprocessing = preprocessing
        policy = self.dtype_policy
        self.hidden = classifier_units and keras.layers.Dense(
            classifier_units, activation="relu", dtype=policy, name="hidden"
        )
        self.readout = DropConnectDense(
            classes, drop_rate, drop_per, output_initializer, dtype=policy, name="readout"
        )
        self.training_step = self.add_weight(
            name="training_step", shape=(), dtype="int64", initializer="zeros", trainable=False,
            aggregation="only_first_replica",
        )  # fmt: skip
        self.trackers = {"supervised_loss": keras.metrics.Mean(name="supervised_loss")}

    @property
    def vocabulary(self):
        """Number of different characters; None if tokens are real."""
        return None if self.embedding is None else self.embedding.vocabulary

    @property
    def head(self):
        """The layers of the classifier."""
        return [layer for layer in (self.hidden, self.readout) if layer]

    def inference_layers(self):
        """Every layer that `call` uses."""
        raise NotImplementedError

    def build_classifier(self, width):
        """Builds what is on top of features `(batch, width)`."""
        if self.hidden:
            self.hidden.build((None, width))
        self.readout.build((None, self.classifier_units or width))

    def ensure_built(self, inputs):
        """Builds the model on first use, outside of the graph that is being traced."""
        if not self.built:
            with tf.init_scope():
                self.build(keras.tree.map_structure(lambda t: tuple(t.shape), inputs))

    def classify(self, features, training, key=None):
        """Probabilities `(batch, classes)` from features `(batch, width)`."""
        mask = None
        if training and key is not None and self.readout.rate:
            mask = self.readout.draw_mask(tf.shape(features)[0], key)
        hidden = self.hidden(features) if self.hidden else features
        logits = self.readout(hidden, training=training, drop_mask=mask)
        # float32: probabilities and their logarithms underflow in half precision.
        return keras.activations.softmax(tf.cast(logits, tf.float32))

    def key(self, *components):
        """The random key of this replica for the given components."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return randomness.fold_in(self.seed, *components, replica)

    def forward(self, inputs, key, training):
        """One pass for all losses, with draws from `key`, `(2,)` int32.

        Returns:
            `(probabilities, auxiliary)`: `(batch, classes)`, and what `losses_of` takes.
        """
        raise NotImplementedError

    def losses_of(self, x, y, y_pred, sample_weight, auxiliary):
        """The scalar to differentiate, and every logged loss by name."""
        loss = self.compute_loss(x, y, y_pred, sample_weight)  # its share of the replicas' loss
        whole = loss * self.distribute_strategy.num_replicas_in_sync
        return loss, {"loss": whole, "supervised_loss": whole}

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred, auxiliary = self.forward(x, self.key(TRAINING, self.training_step), True)
            loss, named = self.losses_of(x, y, y_pred, sample_weight, auxiliary)
            loss = self.optimizer.scale_loss(loss)
        if not self.optimizer.built:  # for all weights, whatever this phase trains
            with tf.init_scope():
                self.optimizer.build(self.trainable_variables)
        gradients = zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        # What a truncation of 0 or the phase leaves out has no gradient and does not move.
        self.optimizer.apply_gradients([(g, v) for g, v in gradients if g is not None])
        self.training_step.assign_add(1)
        return self.track(x, y, y_pred, sample_weight, named)

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred, auxiliary = self.forward(x, self.key(EVALUATION), False)
        _, named = self.losses_of(x, y, y_pred, sample_weight, auxiliary)
        return self.track(x, y, y_pred, sample_weight, named)

    def track(self, x, y, y_pred, sample_weight, named):
        """Updates every metric, losses weighted by batch size, and returns their results."""
        batch = tf.shape(input_checks.split_inputs(x)[0])[0]
        for name, tracker in {"loss": self._loss_tracker, **self.trackers}.items():
            if name in named:
                tracker.update_state(named[name], sample_weight=batch)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self):
        return {
            **super().get_config(),
            "classes": self.classes,
            "classifier_units": self.classifier_units,
            "drop_rate": self.readout.rate,
            "drop_per": self.readout.per,
            "output_initializer": self.readout.get_config()["kernel_initializer"],
            "seed": self.seed,
            "preprocessing": self.preprocessing and dict(self.preprocessing),
        }
