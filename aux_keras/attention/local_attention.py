"""Attention inside blocks of neighbouring positions (Liu et al. 2018)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_integer, check_positive
from aux_keras.attention.self_attention import SelfAttention, attention


def local_attention(query, key, value, lengths, num_heads, block, margin):
    """Every block of queries attends to itself and to `margin` positions on each side.

    Blocks become rows of the batch: memory grows with `time * (block + 2 margin)`.

    Args:
        query, key, value: `(batch, time, units)`.
        lengths: `(batch,)` int32, valid positions.
        num_heads, block, margin: int.

    Returns:
        `(batch, time, units)`.
    """
    time = query.shape[1] or tf.shape(query)[1]
    if isinstance(time, int):  # no padding to a block that is longer than the sequence
        block, margin = min(block, time), min(margin, time)
    seen = block + 2 * margin
    blocks = (time + block - 1) // block
    rest = blocks * block - time
    query = tf.pad(query, [[0, 0], [0, rest], [0, 0]])
    query = tf.reshape(query, (-1, block, query.shape[-1]))  # (batch * blocks, block, units)

    def windows(tensor):
        """`(batch, time, units)` to `(batch * blocks, seen, units)`."""
        padded = tf.pad(tensor, [[0, 0], [margin, margin + rest], [0, 0]])
        frames = tf.signal.frame(padded, seen, block, axis=1)  # (batch, blocks, seen, units)
        return tf.reshape(frames, (-1, seen, tensor.shape[-1]))

    position = tf.range(blocks)[:, None] * block - margin + tf.range(seen)  # (blocks, seen)
    valid = tf.logical_and(position >= 0, position < lengths[:, None, None])
    valid = tf.reshape(valid, (-1, seen))
    outputs = attention(query, windows(key), windows(value), valid, num_heads)
    return tf.reshape(outputs, (-1, blocks * block, query.shape[-1]))[:, :time]


@keras.saving.register_keras_serializable("aux_keras")
class LocalAttention(SelfAttention):
    """Multi-head attention inside blocks of neighbouring positions, looking both ways.

    Query, key, value and output are dense layers without biases. Memory grows linearly
    with the length of the sequence.

    Args:
        num_heads: int, number of attention heads.
        block: int, positions per block.
        margin: int, positions before and behind a block that it sees too.

    Call arguments and returns: as `SelfAttention`.

    Raises:
        ValueError: as `SelfAttention`, if `block` is not positive or `margin` negative.

    Example:
        >>> LocalAttention(num_heads=4, block=256, margin=128)(np.zeros((2, 784, 128))).shape
        TensorShape([2, 784, 128])

    Reference: Liu et al. 2018, "Generating Wikipedia by summarizing long sequences",
    section 4.2.4; unmasked.
    """

    def __init__(self, num_heads: int, block: int, margin: int, **kwargs: Any) -> None:
        super().__init__(num_heads, **kwargs)
        self.block = check_positive("block", block)
        self.margin = check_integer("margin", margin, 0)

    def attend(self, query, key, value, lengths):
        return local_attention(query, key, value, lengths, self.num_heads, self.block, self.margin)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block, "margin": self.margin}
