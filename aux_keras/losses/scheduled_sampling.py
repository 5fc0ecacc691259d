"""Scheduled sampling (section 3.3): what a decoder is fed."""

import math

import tensorflow as tf

FEEDBACKS = ("sample", "argmax")


def teacher_probability(step, decay_steps):
    """Epsilon of scheduled sampling: falls linearly from 1 to 0 (sections 3.3, 4.1).

    Args:
        step: int scalar, training steps done, over all phases.
        decay_steps: int, steps until 0; None for true tokens always.

    Returns:
        float32 scalar in [0, 1], the probability of feeding the true token; or None.
    """
    if decay_steps is None:
        return None
    return tf.maximum(0.0, 1.0 - tf.cast(step, tf.float32) / decay_steps)


def choose(feed, true, own):
    """The true tokens where `feed`, `(rows,)` bool, says so, the decoder's own elsewhere.

    Args:
        true, own: `(rows, features)`, or characters `(rows,)`.
    """
    return tf.where(feed if true.shape.rank == 1 else feed[:, None], true, own)


def draw_character(logits, uniform):
    """Characters from the distribution of the logits, by its inverse.

    The character drawn is the first whose cumulative probability is above `uniform`.

    Args:
        logits: `(rows, vocabulary_size)`.
        uniform: `(rows,)` float32, uniform in [0, 1).

    Returns:
        `(rows,)` int32.
    """
    cumulative = cumulative_sum(tf.nn.softmax(tf.cast(logits, tf.float32)))
    below = cumulative <= uniform[:, None] * cumulative[:, -1:]
    return tf.minimum(tf.reduce_sum(tf.cast(below, tf.int32), -1), logits.shape[-1] - 1)


def cumulative_sum(values):
    """Sums of the values up to each, `(rows, classes)`, by products with triangles of ones.

    `tf.cumsum` is many times slower where XLA compiles it for a CPU. A large vocabulary is summed
    by blocks, so that the triangles stay small.
    """
    classes = values.shape[-1]
    size = classes if classes <= 256 else math.isqrt(classes - 1) + 1
    count = -(-classes // size)
    blocks = tf.pad(values, ((0, 0), (0, count * size - classes)))
    blocks = tf.reshape(blocks, (-1, count, size)) @ triangle(size)
    if count > 1:
        later = triangle(count) - tf.eye(count)
        blocks += (blocks[..., -1] @ later)[..., None]
    return tf.reshape(blocks, (-1, count * size))[:, :classes]


def triangle(size):
    """Ones on and above the diagonal."""
    return tf.linalg.band_part(tf.ones((size, size)), 0, -1)


def own_token(prediction, uniform, feedback):
    """The token that a decoder feeds back to itself.

    Args:
        prediction: `(rows, features)`, predicted tokens, or logits of characters.
        uniform: `(rows,)` float32 draws from [0, 1), needed to sample characters.
        feedback: `"sample"` or `"argmax"`, how a character is made of logits; None for real
            tokens.

    Returns:
        `(rows, features)`; or characters, `(rows,)` int32.
    """
    if feedback is None:
        return prediction
    if feedback == "argmax":
        return tf.argmax(prediction, -1, tf.int32)
    return draw_character(prediction, uniform)
