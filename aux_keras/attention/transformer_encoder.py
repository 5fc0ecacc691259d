"""A stack of Transformer blocks from a sequence to one vector."""

from typing import Any, Self

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_rate, revive
from aux_keras.attention.transformer_block import TransformerBlock, sinusoidal_positions
from aux_keras.padding import valid_lengths, zero_padding


@keras.saving.register_keras_serializable("aux_keras")
class TransformerEncoder(keras.layers.Layer):
    """Encodes sequences with self-attention: the mean of the last block's valid outputs.

    Embedded tokens, times the root of their width, and sinusoidal positions; a stack of
    `TransformerBlock`s and a last normalization; the mean over valid positions. Padding
    changes nothing.

    Args:
        embedding: `TokenEmbedding`; its width is that of all blocks.
        blocks: list of `TransformerBlock`.
        drop_rate: float, dropout of the embedded tokens.
        seed: int, of the draws outside of an `AuxiliaryModel`.

    Call arguments:
        tokens: `(batch, time, features)`, or characters `(batch, time)`.
        mask: `(batch, time)` bool, valid tokens, which come first; by default all.
        training: bool, whether to drop.

    Returns:
        `(batch, units)`.

    Raises:
        ValueError: on an embedding of odd width, or what is no list of blocks.

    Example:
        >>> blocks = [TransformerBlock(SelfAttention(num_heads=4), 64, drop_rate=0.1)]
        >>> TransformerEncoder(TokenEmbedding(32), blocks)(np.zeros((2, 64, 1))).shape
        TensorShape([2, 32])

    References: Vaswani et al. 2017, with the settings of tensor2tensor's `transformer_tiny`;
    Liu et al. 2018 for local and memory-compressed attention.
    """

    def __init__(
        self, embedding: keras.layers.Layer, blocks: list, drop_rate: float = 0.0,
        seed: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if getattr(embedding, "units", 1) % 2:
            raise ValueError(
                "`embedding` must be a `TokenEmbedding` of even width: half of the positions are "
                f"sines. Received: embedding={embedding!r}"
            )
        a_list = isinstance(blocks, (list, tuple))
        if not (a_list and blocks and all(isinstance(b, TransformerBlock) for b in blocks)):
            raise ValueError(
                f"`blocks` must be a list of at least one `TransformerBlock`. Received: {blocks=}"
            )
        self.embedding = embedding
        self.blocks = list(blocks)
        self.drop_rate = check_rate("drop_rate", drop_rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )
        self.supports_masking = True

    def build(self, tokens_shape):
        if not self.embedding.built:  # one that was loaded is
            self.embedding.build(tuple(tokens_shape))
        for layer in (*self.blocks, self.norm):
            if not layer.built:
                layer.build((None, None, self.embedding.units))

    def call(
        self, tokens: tf.Tensor, mask: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        counts = None if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        lengths = valid_lengths(tokens, counts)
        outputs = self.embedding(tokens) * self.embedding.units**0.5
        outputs += tf.cast(
            sinusoidal_positions(tf.shape(tokens)[1], self.embedding.units), outputs.dtype
        )
        keys = [None] * len(self.blocks)
        if training:
            key = randomness.next_key(self.seed_generator)
            keys = [randomness.fold_in(key, i) for i in range(len(self.blocks) + 1)]
            outputs = randomness.dropout(outputs, self.drop_rate, keys.pop(), 0)
        for block, key in zip(self.blocks, keys):
            outputs = block(outputs, lengths, training=training, key=key)
        # float32: in half precision a sum over thousands of steps stands still.
        outputs = tf.cast(zero_padding(self.norm(outputs), lengths), tf.float32)
        counts = tf.maximum(lengths, 1)  # a row that is all masked has zeros, as in a TruncatedRNN
        mean = tf.reduce_sum(outputs, axis=1) / tf.cast(counts, tf.float32)[:, None]
        return tf.cast(mean, self.compute_dtype)

    def compute_output_shape(self, tokens_shape, mask_shape=None):
        return (tokens_shape[0], self.embedding.units)

    def compute_mask(self, tokens, mask=None):
        return None  # there is no time left

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            "blocks": [keras.saving.serialize_keras_object(b) for b in self.blocks],
            "drop_rate": self.drop_rate,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "embedding", "blocks"))
