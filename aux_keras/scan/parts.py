"""Sequences whose length is not known beforehand, in parts of one length.

XLA compiles a loop for every shape of what it keeps. In parts, a new length compiles nothing, and
what is kept is longer than the sequence by less than a part.
"""

import tensorflow as tf

PART = 128  # time steps that are compiled together


def read_part(sequence, start, size, axis=0):
    """`size` steps from `start` on; past the end the last one again, which nobody may run."""
    steps = tf.minimum(start + tf.range(size), tf.shape(sequence)[axis] - 1)
    return tf.gather(sequence, steps, axis=axis)


def at_least_one(sequence, axis):
    """The sequence, with a step of zeros if it has none; else TensorFlow copies nothing."""
    if sequence.shape[axis]:
        return sequence
    empty = tf.cast(tf.equal(tf.shape(sequence)[axis], 0), tf.int32)
    return tf.pad(sequence, [[0, empty if i == axis else 0] for i in range(sequence.shape.rank)])


def most_steps(size, time):
    """At most `size` of `time` steps: an int, unless `time` is unknown and `size` is large.

    Args:
        size: int.
        time: int, or an int scalar where it is not known beforehand.
    """
    if isinstance(time, int):
        return max(1, min(size, time))
    return size if size <= 4 * PART else tf.clip_by_value(time, 1, size)


def with_shapes_of(tensors, others):
    """Others with the static shapes of tensors, as a loop wants them.

    A compiled function that was traced for any number of rows serves a known one too, and
    returns any number.
    """
    return tf.nest.map_structure(lambda t, o: tf.ensure_shape(o, t.shape), tensors, others)


def count_parts(inputs, size):
    """The number of parts of `size` steps of `(time, ...)` inputs."""
    return -(-tf.shape(inputs)[0] // size)
