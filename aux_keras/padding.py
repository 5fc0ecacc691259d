"""Sequences of different lengths in one batch: right-padded, or masked anywhere."""

from typing import NamedTuple

import tensorflow as tf


class Sequences(NamedTuple):
    """Sequences as the recurrence reads them: valid steps first, in order of reading.

    `tokens`: `(batch, time, features)`, or characters `(batch, time)`. `lengths`: `(batch,)`
    int32. `first`: the record before the first step. `mask`: `(batch, time)` bool in order
    of reading, or None. `key`: `(2,)` int32, of dropout inside the cell, or None. `time`: the
    number of steps, an int if it is known; tokens have one more if it is 0.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    first: tuple
    mask: tf.Tensor | None
    key: tf.Tensor | None
    time: int | tf.Tensor


def valid_lengths(inputs, lengths=None):
    """The number of valid steps of each sequence, `(batch,)` int32.

    Args:
        inputs: `(batch, time, ...)`.
        lengths: `(batch,)` integers, or None where there is no padding.
    """
    if lengths is None:
        rows, time, *_ = tf.unstack(tf.shape(inputs))
        return tf.fill([rows], time)
    return tf.cast(lengths, tf.int32)


def valid_steps(sequences, mask):
    """Sequences with their valid steps first, in order, and the number of these.

    Args:
        sequences: `(batch, time, ...)`.
        mask: `(batch, time)` bool, or None for all steps.

    Returns:
        `(sequences, lengths)`: of the shape given, and `(batch,)` int32.
    """
    if mask is None:
        return sequences, valid_lengths(sequences)
    mask = tf.cast(mask, tf.bool)
    if not mask.shape.is_compatible_with(sequences.shape[:2]):
        raise ValueError(
            f"`mask` must be (batch, time), here {tuple(sequences.shape[:2])}. "
            f"Received: shape={tuple(mask.shape)}"
        )

    def reorder():
        order = tf.argsort(tf.cast(mask, tf.int32), axis=1, direction="DESCENDING", stable=True)
        return tf.ensure_shape(tf.gather(sequences, order, batch_dims=1), sequences.shape)

    right_padded = tf.reduce_all(tf.logical_or(mask[:, :-1], tf.logical_not(mask[:, 1:])))
    sequences = tf.cond(right_padded, lambda: tf.identity(sequences), reorder)
    return sequences, tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)


def expand_steps(outputs, mask, zero_masked=False):
    """Outputs of valid steps back at their places; a masked step repeats the one before it.

    Args:
        outputs: `(batch, time, units)`, those of valid steps first.
        mask: `(batch, time)` bool, or None for all steps.
        zero_masked: bool, whether a masked step is zero instead.

    Returns:
        `(batch, time, units)`; zero before the first valid step.
    """
    if mask is None:
        return outputs
    mask = tf.cast(mask, tf.bool)
    index = tf.cumsum(tf.cast(mask, tf.int32), axis=1) - 1
    shown = mask if zero_masked else index >= 0
    at = tf.gather(outputs, tf.maximum(index, 0), batch_dims=1)
    return tf.where(shown[..., None], at, tf.zeros_like(at))


def zero_padding(tensor, lengths):
    """`(batch, time, units)` with zeros after each sequence's length `(batch,)`."""
    valid = tf.sequence_mask(lengths, tf.shape(tensor)[1], tensor.dtype)
    return tensor * valid[..., None]
