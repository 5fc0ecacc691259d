"""Sequences of different lengths in one batch, padded behind."""

import tensorflow as tf


def valid_lengths(inputs, lengths=None):
    """The number of valid steps of each sequence, `(batch,)` int32.

    Args:
        inputs: `(batch, time, ...)`.
        lengths: `(batch,)` integers, or None where there is no padding.
    """
    if lengths is None:
        return tf.fill([tf.shape(inputs)[0]], tf.shape(inputs)[1])
    return tf.cast(lengths, tf.int32)


def zero_padding(tensor, lengths):
    """`(batch, time, units)` with zeros behind each sequence's length `(batch,)`."""
    valid = tf.sequence_mask(lengths, tf.shape(tensor)[1], tensor.dtype)
    return tensor * valid[..., None]
