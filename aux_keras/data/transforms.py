"""Pure functions of one example, each tested alone, and the order of a task's pixels."""

import numpy as np
import tensorflow as tf

PERMUTATION_SEED = 92916


def resize(image, height, width):
    """An image `(any, any, channels)` uint8 to `(height, width, channels)` uint8, bilinear.

    Antialiased, as photographs that shrink need.
    """
    image = tf.image.resize(tf.cast(image, tf.float32), (height, width), "bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def flatten(image):
    """`(height, width, channels)` to `(height * width, channels)`, row by row."""
    return tf.reshape(image, (-1, image.shape[-1]))


def permute(tokens, order):
    """Tokens `(time, features)` in a given order, `(time,)` int."""
    return tf.gather(tokens, order)


def scale(tokens, largest=255):
    """uint8 in 0 ... `largest` to float32 in [0, 1]."""
    return tf.cast(tokens, tf.float32) / float(largest)


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


def encode_text(text, alphabet=ALPHABET):
    """A text as characters of an alphabet: lower case, escaped newlines as newlines.

    Args:
        text: string scalar, or `(batch,)` strings, UTF-8.
        alphabet: str of ASCII characters.

    Returns:
        `(time,)` uint8, or ragged `(batch, time)`: positions in the alphabet from 1 on, and
        for anything else one more than the last.
    """
    text = tf.strings.regex_replace(text, r"\x00", "\x80")  # would end it: as any other character
    text = tf.strings.lower(tf.strings.regex_replace(text, r"\\n", "\n"), "utf-8")
    codes = tf.strings.unicode_decode(text, "UTF-8")
    other = len(alphabet) + 1
    table = np.full(129, other, np.uint8)
    table[[ord(character) for character in alphabet]] = np.arange(1, other)
    return tf.gather(table, tf.minimum(codes, 128))  # the last entry: nothing beyond ASCII
