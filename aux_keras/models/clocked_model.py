"""A Keras model whose draws are functions of a saved clock: its training step and its losses."""

import keras
import tensorflow as tf

from aux_keras.layers import randomness

TRAINING, EVALUATION = 0, 1  # first component of a key: draws of the two never coincide


class ClockedModel(keras.Model):
    """Base of all our models.

    All randomness of ours is a function of (`seed`, `training_step`, replica), and
    `training_step` is saved with the weights and counts over all phases. Subclasses make
    predictions from a random key in `forward`; the training step and what it logs are here.

    Args:
        seed: int.

    Raises:
        ValueError: if `seed` is no integer from 0 on.
    """

    auxiliary = ()  # losses to pretrain with

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = check_integer("seed", seed, 0)
        self.training_step = self.add_weight(
            name="training_step", shape=(), dtype="int64", initializer="zeros", trainable=False,
            aggregation="only_first_replica",
        )  # fmt: skip
        self.trackers = {"supervised_loss": keras.metrics.Mean(name="supervised_loss")}

    def ensure_built(self, inputs):
        """Builds the model on first use, outside of the graph that is being traced."""
        if not self.built:
            with tf.init_scope():
                self.build(keras.tree.map_structure(lambda t: tuple(t.shape), inputs))

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
        logs = self.track(x, y, y_pred, sample_weight, named)
        return {**logs, **self.track_memory(auxiliary)}

    def track_memory(self, auxiliary):
        """What an evaluation logs besides: nothing where there are no auxiliary losses."""
        del auxiliary
        return {}

    def track(self, x, y, y_pred, sample_weight, named):
        """Updates every metric, losses weighted by batch size, and returns their results."""
        batch = tf.shape(tf.nest.flatten(x)[0])[0]
        for name, tracker in {"loss": self._loss_tracker, **self.trackers}.items():
            if name in named:
                tracker.update_state(named[name], sample_weight=batch)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def check_integer(name, value, least):
    """Returns an integer, or raises a `ValueError` that names the argument."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}"
        )
    return value
