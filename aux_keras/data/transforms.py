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


# Zhang, Zhao and LeCun 2015, with space and newline. Id 0 is padding, the last one is
# anything else.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} \n"
OTHER = len(ALPHABET) + 1
VOCABULARY = len(ALPHABET) + 2


def join_text(title, content, use_titles=True):
    """Title, a space and content; or the content alone. Blanks at both ends are left out."""
    text = tf.strings.join([title, content], " ") if use_titles else content
    return tf.strings.strip(text)


def encode_text(text):
    """A text as characters of the alphabet: lower case, escaped newlines as newlines.

    Args:
        text: string scalar, UTF-8.

    Returns:
        `(time,)` uint8, from 1 to `OTHER`.
    """
    text = tf.strings.lower(tf.strings.regex_replace(text, r"\\n", "\n"), "utf-8")
    codes = tf.strings.unicode_decode(text, "UTF-8")
    table = np.full(129, OTHER, np.uint8)
    table[[ord(character) for character in ALPHABET]] = np.arange(1, OTHER)
    return tf.gather(table, tf.minimum(codes, 128))  # the last entry: nothing beyond ASCII
