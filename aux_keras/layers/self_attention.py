"""Multi-head attention of every position of a sequence to all of its valid ones."""

import keras
import tensorflow as tf

from aux_keras.layers.arguments import check_positive


def attention(query, key, value, valid):
    """`softmax(q k / sqrt(depth)) v` over the valid positions, by Keras's operation.

    Args:
        query: `(rows, time, heads, depth)`.
        key, value: `(rows, memory, heads, depth)`.
        valid: `(rows, memory)` bool. Where a row has none, its result means nothing.

    Returns:
        `(rows, time, heads, depth)`.
    """
    # As a bias: of a mask the operation makes a copy as large as all weights.
    bias = tf.where(valid, tf.zeros([], query.dtype), 0.7 * query.dtype.min)[:, None, None, :]
    return keras.ops.dot_product_attention(query, key, value, bias=bias)


def split_heads(tensor, heads):
    """`(batch, time, units)` to `(batch, time, heads, units / heads)`."""
    return tf.reshape(tensor, (*_leading(tensor, 2), heads, tensor.shape[-1] // heads))


def merge_heads(tensor):
    """`(batch, time, heads, depth)` to `(batch, time, heads * depth)`."""
    return tf.reshape(tensor, (*_leading(tensor, 2), tensor.shape[2] * tensor.shape[3]))


def full_lengths(inputs):
    """The lengths `(batch,)` of sequences without padding, `(batch, time, ...)`."""
    return tf.fill([tf.shape(inputs)[0]], tf.shape(inputs)[1])


def _leading(tensor, axes):
    return [tf.shape(tensor)[i] if n is None else n for i, n in enumerate(tensor.shape[:axes])]


@keras.saving.register_keras_serializable("aux_keras")
class SelfAttention(keras.layers.Layer):
    """Lets every position of a sequence attend to all valid ones.

    Query, key, value and output are dense layers without biases. A batch needs memory for
    `heads * time ** 2` attention weights per sequence.

    Args:
        heads: int, number of attention heads.

    Call arguments:
        inputs: `(batch, time, units)`.
        lengths: `(batch,)` int, valid positions of each sequence, by default all.

    Returns:
        `(batch, time, units)`; behind a sequence's length it means nothing.

    Raises:
        ValueError: if `heads` is not positive, or does not divide `units`.

    Example:
        >>> SelfAttention(heads=4)(np.zeros((2, 784, 128))).shape
        TensorShape([2, 784, 128])

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.2.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = check_positive("heads", heads)

    def build(self, inputs_shape, lengths_shape=None):
        units = inputs_shape[-1]
        if units % self.heads:
            raise ValueError(
                "`heads` must divide the width of the inputs. "
                f"Received: heads={self.heads}, width={units}"
            )
        self.query, self.key, self.value, self.output_layer = (
            keras.layers.Dense(units, use_bias=False, dtype=self.dtype_policy, name=name)
            for name in ("query", "key", "value", "output")
        )
        for layer in (self.query, self.key, self.value, self.output_layer):
            layer.build((None, None, units))
        self.built = True

    def call(self, inputs, lengths=None):
        lengths = full_lengths(inputs) if lengths is None else tf.cast(lengths, tf.int32)
        projected = self.query(inputs), self.key(inputs), self.value(inputs)
        return self.output_layer(merge_heads(self.attend(*projected, lengths)))

    def attend(self, query, key, value, lengths):
        """Attention of projected inputs, each `(batch, time, units)`.

        Returns:
            `(batch, time, heads, units / heads)`.
        """
        valid = tf.sequence_mask(lengths, tf.shape(key)[1])
        return attention(*(split_heads(t, self.heads) for t in (query, key, value)), valid)

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        return tuple(inputs_shape)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}
