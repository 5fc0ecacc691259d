"""The memory gap: how much an auxiliary loss needs the state of the main RNN."""

from typing import NamedTuple

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.losses.objective import segment_loss
from aux_keras.models.replicas import roll_rows
from aux_keras.scan.rows import map_rows
from aux_keras.scan.windows import states_at


class Reading(NamedTuple):
    """What the auxiliary losses see of a batch.

    `encoder`: the main RNN as a recurrence. `embedding`: the `TokenEmbedding` through which
    decoders read tokens, or None. `tokens`: `(batch, time, features)`, or characters
    `(batch, time)`. `features`: `(batch, time, width)`, what the main RNN reads; `tokens` if
    it reads these. `lengths`: `(batch,)` int32, valid tokens.
    """

    encoder: object
    embedding: object
    tokens: tf.Tensor
    features: tf.Tensor
    lengths: tf.Tensor


class Recall(NamedTuple):
    """Losses of decoders on the states of their own and of other sequences, by token.

    `draws`: see `draw_recall` of `SegmentLoss`. `own`, `other`: `(batch, anchors, l)` float32.
    """

    draws: object
    own: tf.Tensor
    other: tf.Tensor


def recall(reading, losses, key, growth, blocks=None):
    """Every loss with the states of its own sequences, and with those of others.

    Decoders run free and nothing is dropped. The others' states are those of the batch
    rolled by one, at the same anchors: after as many tokens, or all if they have fewer.

    Args:
        reading: `Reading` of the batch.
        losses: list of auxiliary losses.
        key: `(2,)` int32, of the draws.
        growth: float scalar in [0, 1], how far the curriculum of placements has come.
        blocks: see `map_rows`.

    Returns:
        list of `Recall`, one per loss.
    """
    encoder, embedding, *batch = reading
    draws = [
        loss.draw_recall(reading.lengths, randomness.fold_in(key, i), growth)
        for i, loss in enumerate(losses, start=1)
    ]
    others = [roll_rows(part) for part in (reading.features, reading.lengths)]

    def run(tokens, features, lengths, draws, other_features, other_lengths):
        counts = [loss.recall_window(d)[0] for loss, d in zip(losses, draws)]
        own = states_at(encoder, features, [(c, 0) for c in counts])
        counts = [tf.minimum(c, other_lengths[:, None]) for c in counts]
        other = states_at(encoder, other_features, [(c, 0) for c in counts])
        return [
            [loss.token_losses(tokens, d, r, encoder, embedding, features) for r in records]
            for loss, d, *records in zip(losses, draws, own, other)
        ]

    pairs = map_rows(run, *batch, draws, *others, blocks=blocks)
    return [Recall(d, *pair) for d, pair in zip(draws, pairs)]


def sequence_gaps(own, other, lengths):
    """The memory gap of each sequence, and whether it has one.

    The loss of decoders that start from another sequence's state at the same anchors, less
    that of decoders that start from the sequence's own. 0: the state is not needed, and the
    loss teaches the main RNN nothing.

    Args:
        own, other: `(batch, anchors)` float32, L_i of equation 2 with either state.
        lengths: `(batch, anchors)` int32, l_i.

    Returns:
        `(gaps, counted)`, each `(batch,)` float32: per predicted token; and 1, or 0 for a
        sequence without a predicted token, or without another one beside it.
    """
    tokens = tf.cast(tf.reduce_sum(lengths, axis=1), tf.float32)
    gaps = tf.math.divide_no_nan(tf.reduce_sum(other - own, axis=1), tokens)
    rows = tf.shape(lengths)[0]
    total, *_ = randomness.batch_rows(rows) or [rows]
    counted = tf.logical_and(tokens > 0, total > 1)
    return gaps, tf.cast(counted, tf.float32)


def gaps_of(recall):
    """The `sequence_gaps` of a `Recall`."""
    lengths = recall.draws.segments.lengths
    own, other = (segment_loss(losses, lengths) for losses in (recall.own, recall.other))
    return sequence_gaps(own, other, lengths)


def logged_gaps(model, reading, key):
    """The `sequence_gaps` of every active loss of an `AuxiliaryModel`, where evaluations log them.

    Replicas have to talk for it, so it comes after their forward runs, see `losses_of`.
    """
    if reading is None or not model.memory_gap:
        return []
    with randomness.KeyScope(key, tf.shape(reading.lengths)[0]):
        return list(map(gaps_of, model.recall(reading, model.active_losses())))


@keras.saving.register_keras_serializable("aux_keras")
class MemoryGap(keras.metrics.Metric):
    """Mean of the memory gaps of sequences, and its standard error.

    `update_state` takes the results of `sequence_gaps`; `result` is a dictionary of the mean
    under the metric's name and of the standard error under `{name}_error`.
    """

    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.count, self.total, self.squares = (
            self.add_variable((), "zeros", name=part) for part in ("count", "total", "squares")
        )

    @property
    def error(self):
        """Name of the standard error."""
        return f"{self.name}_error"

    def update_state(self, gaps, counted):
        self.count.assign_add(tf.reduce_sum(counted))
        self.total.assign_add(tf.reduce_sum(counted * gaps))
        self.squares.assign_add(tf.reduce_sum(counted * gaps * gaps))

    def result(self):
        mean = tf.math.divide_no_nan(self.total.value, self.count.value)
        mean_square = tf.math.divide_no_nan(self.squares.value, self.count.value)
        variance = tf.maximum(mean_square - mean * mean, 0.0)
        error = tf.sqrt(tf.math.divide_no_nan(variance, self.count.value - 1.0))
        return {self.name: mean, self.error: error}
