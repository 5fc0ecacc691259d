"""Attention to keys and values that a convolution has shortened (Liu et al. 2018)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_positive
from aux_keras.attention.self_attention import SelfAttention
from aux_keras.padding import zero_padding


@keras.saving.register_keras_serializable("aux_keras")
class MemoryCompressedAttention(SelfAttention):
    """Multi-head attention of every position to a shortened memory.

    Keys and values are each shortened by a convolution whose kernel and stride are
    `compression`. A last block that a sequence does not fill is filled with zeros, so no
    position is lost. Memory is that of full attention divided by `compression`.

    Args:
        num_heads: int, number of attention heads.
        compression: int, kernel and stride.

    Call arguments and returns: as `SelfAttention`.

    Raises:
        ValueError: as `SelfAttention`, and if `compression` is not positive.

    Example:
        >>> MemoryCompressedAttention(num_heads=4, compression=3)(np.zeros((2, 784, 128))).shape
        TensorShape([2, 784, 128])

    Reference: Liu et al. 2018, "Generating Wikipedia by summarizing long sequences",
    section 4.2.4; unmasked.
    """

    def __init__(self, num_heads: int, compression: int, **kwargs: Any) -> None:
        super().__init__(num_heads, **kwargs)
        self.compression = check_positive("compression", compression)

    def build(self, inputs_shape, lengths_shape=None):
        super().build(inputs_shape)
        self.key_compression, self.value_compression = (
            keras.layers.Conv1D(
                inputs_shape[-1], self.compression, strides=self.compression,
                dtype=self.dtype_policy, name=f"{name}_compression",
            )
            for name in ("key", "value")
        )  # fmt: skip
        for layer in (self.key_compression, self.value_compression):
            layer.build((None, None, inputs_shape[-1]))

    def attend(self, query, key, value, lengths):
        rest = -tf.shape(key)[1] % self.compression
        key, value = (
            layer(tf.pad(zero_padding(tensor, lengths), [[0, 0], [0, rest], [0, 0]]))
            for layer, tensor in ((self.key_compression, key), (self.value_compression, value))
        )
        return super().attend(query, key, value, -(-lengths // self.compression))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "compression": self.compression}
