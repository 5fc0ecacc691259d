"""Multi-head attention of every position of a sequence to all of its valid ones."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_positive
from aux_keras.padding import valid_lengths


def attention(query, key, value, valid, num_heads):
    """`softmax(q k / sqrt(depth)) v` of each head, over the valid positions, by Keras's operation.

    Args:
        query: `(rows, time, units)`; a head has `depth = units / num_heads` of them.
        key, value: `(rows, memory, units)`.
        valid: `(rows, memory)` bool. Where a row has none, its result means nothing.
        num_heads: int.

    Returns:
        `(rows, time, units)`.
    """

    def split(tensor):
        """`(rows, time, units)` to `(rows, time, num_heads, depth)`."""
        rows, time = (tf.shape(tensor)[i] if tensor.shape[i] is None else tensor.shape[i]
                      for i in range(2))  # fmt: skip
        return tf.reshape(tensor, (rows, time, num_heads, tensor.shape[-1] // num_heads))

    # As a bias: of a mask the operation makes a copy as large as all weights.
    bias = tf.where(valid, tf.zeros([], query.dtype), 0.7 * query.dtype.min)[:, None, None, :]
    outputs = keras.ops.dot_product_attention(split(query), split(key), split(value), bias=bias)
    return tf.reshape(outputs, tf.shape(query))


@keras.saving.register_keras_serializable("aux_keras")
class SelfAttention(keras.layers.Layer):
    """Lets every position of a sequence attend to all valid ones.

    Query, key, value and output are dense layers without biases. A batch needs memory for
    `num_heads * time ** 2` attention weights per sequence.

    Args:
        num_heads: int, number of attention heads.

    Call arguments:
        inputs: `(batch, time, units)`.
        lengths: `(batch,)` int, valid positions of each sequence, by default all.

    Returns:
        `(batch, time, units)`; undefined past a sequence's length.

    Raises:
        ValueError: if `num_heads` is not positive, or does not divide `units`.

    Example:
        >>> SelfAttention(num_heads=4)(np.zeros((2, 784, 128))).shape
        TensorShape([2, 784, 128])

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.2.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_positive("num_heads", num_heads)

    def build(self, inputs_shape, lengths_shape=None):
        units = inputs_shape[-1]
        if units % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the width of the inputs. "
                f"Received: num_heads={self.num_heads}, width={units}"
            )
        self.query, self.key, self.value, self.output_layer = (
            keras.layers.Dense(units, use_bias=False, dtype=self.dtype_policy, name=name)
            for name in ("query", "key", "value", "output")
        )
        for layer in (self.query, self.key, self.value, self.output_layer):
            layer.build((None, None, units))

    def call(self, inputs: tf.Tensor, lengths: tf.Tensor | None = None) -> tf.Tensor:
        projected = self.query(inputs), self.key(inputs), self.value(inputs)
        return self.output_layer(self.attend(*projected, valid_lengths(inputs, lengths)))

    def attend(self, query, key, value, lengths):
        """Attention of projected inputs; all, and the result, `(batch, time, units)`."""
        valid = tf.sequence_mask(lengths, tf.shape(key)[1])
        return attention(query, key, value, valid, self.num_heads)

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}
