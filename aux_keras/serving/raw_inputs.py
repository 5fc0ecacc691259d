"""Raw images and texts as tokens, inside the graph, as a run's `preprocessing` says."""

import tensorflow as tf

from aux_keras.data import transforms

DECODABLE = (1, 3, 4)  # channels that TensorFlow makes of any image file


def of(preprocessing):
    """What reads a model's raw inputs, or None if its `preprocessing` does not say how.

    Args:
        preprocessing: dictionary of a `SequenceClassifier`, or None. Images: `image_shape`,
            `(height, width, channels)`, `scale`, what the bytes are divided by, and `order`,
            of the pixels, or None. Texts: `alphabet`, a string, and `max_length`, characters.

    Returns:
        `RawImages` or `RawTexts`.
    """
    given = preprocessing or {}
    if given.get("image_shape") and given["image_shape"][-1] in DECODABLE:
        return RawImages(given["image_shape"], given["scale"], given["order"])
    if given.get("alphabet"):
        return RawTexts(given["alphabet"], given["max_length"])
    return None


class RawImages:
    """PNG, JPEG, GIF or BMP files of any size, resized as in training."""

    name = "images"

    def __init__(self, shape, scale, order):
        self.shape, self.scale, self.order = tuple(shape), scale, order

    def encode(self, files):
        """`(batch,)` contents of files to `(batch, time, channels)` float32 and lengths."""
        height, width, channels = self.shape

        def tokens(file):
            image = tf.io.decode_image(file, channels, expand_animations=False)
            image = tf.ensure_shape(image, (None, None, channels))
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

    def encode(self, texts):
        """`(batch,)` pieces of text, as they are, to `(batch, time)` int32 and lengths."""
        characters = tf.cast(transforms.encode_text(texts, self.alphabet), tf.int32)
        return characters.to_tensor(), tf.cast(characters.row_lengths(), tf.int32)

    def prepare(self, texts):
        """`(batch,)` whole texts, as in training without blanks at their ends and cut."""
        tokens, lengths = self.encode(tf.strings.strip(texts))
        return tokens[:, : self.max_length], tf.minimum(lengths, self.max_length)
