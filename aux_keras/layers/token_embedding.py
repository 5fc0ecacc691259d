"""Token embedding of section 4.1, shared by the main RNN and the decoders."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("aux_keras")
class TokenEmbedding(keras.layers.Layer):
    """Maps real tokens (pixels) linearly to features.

    The map is `x E + e`. Being linear it can also be composed into the kernel of the
    recurrent cell behind it (`compose`), so that no embedded sequence is ever built.

    Args:
        units: int, width of the embedding.

    Call arguments:
        tokens: `(..., features)`, real values.

    Returns:
        `(..., units)`, in the layer's compute dtype.

    Raises:
        ValueError: if `units` is not a positive integer.

    Example:
        >>> TokenEmbedding(128)(np.zeros((2, 784, 1))).shape
        TensorShape([2, 784, 128])

    Reference: Trinh et al. 2018, section 4.1.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise ValueError(f"`units` must be a positive integer. Received: {units=}")
        self.units = units

    def build(self, tokens_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(tokens_shape[-1], self.units), initializer="glorot_uniform"
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, tokens):
        kernel = tf.cast(self.kernel, self.compute_dtype)
        return tf.linalg.matvec(kernel, tokens, transpose_a=True) + tf.cast(
            self.bias, self.compute_dtype
        )

    def compose(self, kernel, bias):
        """Kernel and bias that read tokens as `kernel` and `bias` read embeddings.

        `(x E + e) W + b = x (E W) + (e W + b)`.

        Args:
            kernel: `(units, outputs)`, W.
            bias: `(outputs,)`, b.

        Returns:
            `(E W, e W + b)`, of shapes `(features, outputs)` and `(outputs,)`.
        """
        weight, offset = (tf.cast(v, kernel.dtype) for v in (self.kernel, self.bias))
        return weight @ kernel, tf.linalg.matvec(kernel, offset, transpose_a=True) + bias

    def compute_output_shape(self, tokens_shape):
        return (*tokens_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
