"""Raw images and texts as tokens, inside the graph, as a run's `preprocessing` says."""

import tensorflow as tf

from aux_keras.data import transforms
from aux_keras.serving import image_files

DECODABLE = (1, 3, 4)  # channels that TensorFlow makes of an image file
MAX_PIXELS = 2**25  # 33 million: 100 MB decoded, 400 MB while it is resized


def of(preprocessing):
    """What reads a model's raw inputs, or None if its `preprocessing` does not say how.

    Args:
        preprocessing: dictionary of a `SequenceClassifier`, or None. Images: `image_shape`,
            `(height, width, channels)`, `scale`, what the bytes are divided by, `order` of the
            pixels, or None, and `max_pixels` of a file, by default 2**25. Texts: `alphabet`, a
            string, and `max_length`, characters.

    Returns:
        `RawImages` or `RawTexts`.

    Raises:
        ValueError: if a key of these is missing, or its value is no such thing.
    """
    given = preprocessing or {}
    if "image_shape" in given:
        shape = _value(given, "image_shape", "three positive integers", _is_shape)
        scale = _value(given, "scale", "a positive number", lambda v: v > 0)
        pixels = list(range(shape[0] * shape[1]))
        order = _value(
            {"order": None, **given}, "order", f"None, or a permutation of {len(pixels)} pixels",
            lambda v: v is None or sorted(v) == pixels,
        )  # fmt: skip
        most = _value(
            {"max_pixels": MAX_PIXELS, **given}, "max_pixels", "a positive integer",
            _is_size,
        )  # fmt: skip
        return RawImages(shape, scale, order, most) if shape[-1] in DECODABLE else None
    if "alphabet" in given:
        alphabet = _value(
            given, "alphabet", "a string of different ASCII characters, none of them upper case",
            lambda v: v.isascii() and v == v.lower() and 0 < len(v) == len(set(v)),
        )  # fmt: skip
        length = _value(given, "max_length", "a positive integer", _is_size)
        return RawTexts(alphabet, length)
    if set(given) - {"label_names"}:
        raise ValueError(
            "`preprocessing` must have 'image_shape' or 'alphabet'. Received: the keys "
            f"{sorted(given)}"
        )
    return None


def _is_size(value):
    return isinstance(value, int) and value > 0


def _is_shape(value):
    return len(value) == 3 and all(map(_is_size, value))


def _value(given, key, expected, fits):
    """`given[key]` if it fits, or a `ValueError` that says what is expected."""
    try:
        if fits(given[key]):
            return given[key]
    except (KeyError, TypeError, AttributeError):  # not there, or not even of that type
        pass
    received = f"{key}={given[key]!r}" if key in given else f"the keys {sorted(given)}"
    raise ValueError(f"`preprocessing` must have {key!r}: {expected}. Received: {received}")


class RawImages:
    """Image files as `image_files.decode` reads them, of any size, resized as in training."""

    name = "images"

    def __init__(self, shape, scale, order, max_pixels):
        self.shape, self.scale, self.order = tuple(shape), scale, order
        self.max_pixels = max_pixels

    @property
    def width(self):
        """Features of a token."""
        return self.shape[-1]

    def encode(self, files):
        """`(batch,)` contents of files to `(batch, time, channels)` float32 and lengths."""
        height, width, channels = self.shape

        def tokens(file):
            image = image_files.decode(file, channels, self.max_pixels)
            image = transforms.flatten(transforms.resize(image, height, width))
            if self.order is not None:
                image = transforms.permute(image, self.order)
            return tf.ensure_shape(transforms.scale(image, self.scale), (height * width, channels))

        spec = tf.TensorSpec((height * width, channels))
        return tf.map_fn(tokens, files, fn_output_signature=spec), tf.fill(
            tf.shape(files), height * width
        )

    prepare = encode


class RawTexts:
    """Texts of any length, in UTF-8."""

    name = "texts"

    def __init__(self, alphabet, max_length):
        self.alphabet, self.max_length = alphabet, max_length

    @property
    def width(self):
        """Different characters: padding, the alphabet, anything else."""
        return len(self.alphabet) + 2

    def encode(self, texts):
        """`(batch,)` pieces of text, as they are, to `(batch, time)` int32 and lengths."""
        characters = tf.cast(transforms.encode_text(texts, self.alphabet), tf.int32)
        return characters.to_tensor(), tf.cast(characters.row_lengths(), tf.int32)

    def prepare(self, texts):
        """`(batch,)` whole texts, as in training without blanks at their ends and cut."""
        tokens, lengths = self.encode(tf.strings.strip(texts))
        return tokens[:, : self.max_length], tf.minimum(lengths, self.max_length)
