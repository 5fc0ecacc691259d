"""A layer of a Transformer encoder: attention, then a feed-forward network."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_positive, check_rate, revive
from aux_keras.padding import valid_lengths, zero_padding


def sinusoidal_positions(time, units):
    """`sin(t / s_i)` and `cos(t / s_i)`, with scales s from 1 to 10,000 in a geometric row.

    Args:
        time: int scalar.
        units: int, even.

    Returns:
        `(time, units)` float32: first the sines, then the cosines.
    """
    half = units // 2
    scales = 10_000.0 ** (tf.range(half, dtype=tf.float64) / max(half - 1, 1))
    # float64: in float32 the angle of position 16,384 is off by 0.001.
    angle = tf.cast(tf.range(time), tf.float64)[:, None] / scales
    return tf.cast(tf.concat([tf.sin(angle), tf.cos(angle)], axis=1), tf.float32)


@keras.saving.register_keras_serializable("aux_keras")
class TransformerBlock(keras.layers.Layer):
    """`y = x + attention(norm(x)); y + feed_forward(norm(y))`, with dropout in training.

    The feed-forward network is `Dense(intermediate_dim, relu)` and `Dense(units)`; with
    `kernel_sizes` both are separable convolutions over time. Dropout is on what each of
    the two adds and on the hidden layer. Padding never reaches a valid position.

    Args:
        attention: `SelfAttention`, `LocalAttention` or `MemoryCompressedAttention`.
        intermediate_dim: int, width of the hidden layer.
        drop_rate: float in [0, 1), probability of dropping a value.
        kernel_sizes: widths of the two convolutions, two int; None for dense layers.
        seed: int, seed of the dropout drawn when `key` is not given.

    Call arguments:
        inputs: `(batch, time, units)`.
        lengths: `(batch,)` int, valid positions of each sequence, by default all.
        training: bool; whether to drop.
        key: `(2,)` int32, see `randomness`; by default a new one in training.

    Returns:
        `(batch, time, units)`; undefined past a sequence's length.

    Raises:
        ValueError: if `attention` is no layer, `intermediate_dim` not a positive integer,
            `drop_rate` outside [0, 1), or `kernel_sizes` not two positive integers.

    Example:
        >>> block = TransformerBlock(SelfAttention(num_heads=4), 512, drop_rate=0.1)
        >>> block(np.zeros((2, 784, 128))).shape
        TensorShape([2, 784, 128])

    References: Vaswani et al. 2017; normalization first as in tensor2tensor. Separable
    convolutions: Liu et al. 2018 and tensor2tensor.
    """

    def __init__(
        self, attention: keras.layers.Layer, intermediate_dim: int, drop_rate: float,
        kernel_sizes: Sequence[int] | None = None, seed: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if not isinstance(attention, keras.layers.Layer):
            raise ValueError(
                "`attention` must be a layer such as `SelfAttention(num_heads=4)`. "
                f"Received: {attention=}"
            )
        if kernel_sizes is not None and len(kernel_sizes) != 2:
            raise ValueError(f"`kernel_sizes` must be two integers. Received: {kernel_sizes=}")
        self.attention = attention
        self.intermediate_dim = check_positive("intermediate_dim", intermediate_dim)
        self.drop_rate = check_rate("drop_rate", drop_rate)
        for size in kernel_sizes or ():
            check_positive("kernel_sizes", size)
        self.kernel_sizes = kernel_sizes and list(kernel_sizes)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        policy = self.dtype_policy
        self.attention_norm, self.feed_forward_norm = (
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"{name}_norm")
            for name in ("attention", "feed_forward")
        )

    def build(self, inputs_shape, lengths_shape=None):
        units = inputs_shape[-1]
        self.hidden = self._feed_forward(self.intermediate_dim, 0, "hidden", activation="relu")
        self.output_layer = self._feed_forward(units, 1, "output")
        for layer in (self.attention_norm, self.attention, self.feed_forward_norm, self.hidden):
            if not layer.built:  # attention that was loaded is
                layer.build((None, None, units))
        self.output_layer.build((None, None, self.intermediate_dim))

    def _feed_forward(self, units, index, name, **options):
        policy = self.dtype_policy
        dense = keras.layers.Dense(units, dtype=policy, name=name, **options)
        if self.kernel_sizes is None:
            return dense
        depthwise = keras.layers.DepthwiseConv1D(
            self.kernel_sizes[index], padding="same", use_bias=False, dtype=policy
        )
        # `SeparableConv1D` in two: its pointwise part fails on an empty batch (TensorFlow 2.21).
        return keras.Sequential([depthwise, dense], name=name)

    def call(
        self, inputs: tf.Tensor, lengths: tf.Tensor | None = None, training: bool = False,
        key: tf.Tensor | None = None,
    ) -> tf.Tensor:  # fmt: skip
        lengths = valid_lengths(inputs, lengths)
        if training and key is None:
            key = randomness.next_key(self.seed_generator)
        rate = self.drop_rate if training else 0.0

        def dropped(tensor, index):
            return randomness.dropout(tensor, rate, key, index)

        attended = self.attention(self.attention_norm(inputs), lengths)
        outputs = inputs + dropped(attended, 0)
        hidden = self.hidden(self._for_convolution(self.feed_forward_norm(outputs), lengths))
        hidden = self._for_convolution(dropped(hidden, 1), lengths)
        return outputs + dropped(self.output_layer(hidden), 2)

    def _for_convolution(self, tensor, lengths):
        """A convolution reads beyond a position: zeros behind the sequence, as behind the batch."""
        return tensor if self.kernel_sizes is None else zero_padding(tensor, lengths)

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "attention": keras.saving.serialize_keras_object(self.attention),
            "intermediate_dim": self.intermediate_dim,
            "drop_rate": self.drop_rate,
            "kernel_sizes": self.kernel_sizes,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "attention"))
