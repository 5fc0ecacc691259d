"""Pure functions of one example, each tested alone, and the order of a task's pixels."""

import numpy as np
import tensorflow as tf

PERMUTATION_SEED = 92916


def resize(image, size):
    """`(height, width, channels)` uint8 to `(size, size, channels)` uint8, bilinear.

    Antialiased, as photographs that shrink need.
    """
    image = tf.image.resize(tf.cast(image, tf.float32), (size, size), "bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def flatten(image):
    """`(height, width, channels)` to `(height * width, channels)`, row by row."""
    return tf.reshape(image, (-1, image.shape[-1]))


def permute(tokens, order):
    """Tokens `(time, features)` in a given order, `(time,)` int."""
    return tf.gather(tokens, order)


def scale(tokens):
    """uint8 in 0 ... 255 to float32 in [0, 1]."""
    return tf.cast(tokens, tf.float32) / 255.0


def pixel_order(kind, time):
    """The order of pixels of permuted tasks.

    Args:
        kind: `"random"`, the fixed permutation of `RandomState(92916)`; `"bit_reversal"`,
            positions sorted by their reversed binary digits.
        time: int, number of pixels.

    Returns:
        `(time,)` int array, a permutation.
    """
    if kind == "random":
        return np.random.RandomState(PERMUTATION_SEED).permutation(time)
    bits = max(time - 1, 1).bit_length()
    reversed_bits = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(time)]
    return np.argsort(reversed_bits, kind="stable")
