"""Token embedding of section 4.1, shared by the main RNN and the decoders."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_positive


@keras.saving.register_keras_serializable("aux_keras")
class TokenEmbedding(keras.layers.Layer):
    """Maps tokens to features: real ones (pixels) linearly, characters by a table.

    Real tokens: `x E + e`. Characters are indices into the rows of E, that is, one-hot
    tokens without a bias. Being linear the map can be composed into the kernel of the
    recurrent cell behind it (`compose`), so that no embedded sequence is ever built.

    Args:
        units: int, width of the embedding.
        vocabulary_size: int, number of different characters; None for real tokens.

    Call arguments:
        tokens: `(..., features)`, real values; with a vocabulary, integers `(...)`.

    Returns:
        `(..., units)`, in the layer's compute dtype.

    Raises:
        ValueError: if `units` or `vocabulary_size` is not a positive integer.

    Example:
        >>> TokenEmbedding(128)(np.zeros((2, 784, 1))).shape
        TensorShape([2, 784, 128])
        >>> TokenEmbedding(128, vocabulary_size=72)(np.zeros((2, 300), "int32")).shape
        TensorShape([2, 300, 128])

    Reference: Trinh et al. 2018, section 4.1.
    """

    def __init__(self, units: int, vocabulary_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = check_positive("units", units)
        self.vocabulary_size = (
            None if vocabulary_size is None else check_positive("vocabulary_size", vocabulary_size)
        )

    def build(self, tokens_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.vocabulary_size or tokens_shape[-1], self.units),
            initializer="uniform" if self.vocabulary_size else "glorot_uniform",
        )
        if self.vocabulary_size is None:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, self.compute_dtype)
        if self.vocabulary_size is not None:
            return tf.gather(kernel, tf.cast(tokens, tf.int32))
        bias = tf.cast(self.bias, self.compute_dtype)
        return tf.linalg.matvec(kernel, tokens, transpose_a=True) + bias

    def compose(self, kernel, bias):
        """Kernel and bias that read tokens as `kernel` and `bias` read embeddings.

        `(x E + e) W + b = x (E W) + (e W + b)`.

        Args:
            kernel: `(units, outputs)`, W.
            bias: `(outputs,)`, b.

        Returns:
            `(E W, e W + b)`, of shapes `(features or vocabulary_size, outputs)` and `(outputs,)`.
        """
        weight = tf.cast(self.kernel, kernel.dtype)
        if self.vocabulary_size is None:
            offset = tf.cast(self.bias, kernel.dtype)
            bias = tf.linalg.matvec(kernel, offset, transpose_a=True) + bias
        return weight @ kernel, bias

    def compute_output_shape(self, tokens_shape):
        return (*(tokens_shape if self.vocabulary_size else tokens_shape[:-1]), self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "vocabulary_size": self.vocabulary_size,
        }
