"""Attention over sequences: the layers of the paper's baselines without recurrence."""

from aux_keras import backend  # noqa: F401, before anything of Keras is made
from aux_keras.attention.local_attention import LocalAttention
from aux_keras.attention.memory_compressed import MemoryCompressedAttention
from aux_keras.attention.self_attention import SelfAttention
from aux_keras.attention.transformer_block import TransformerBlock
from aux_keras.attention.transformer_encoder import TransformerEncoder

__all__ = [
    "LocalAttention",
    "MemoryCompressedAttention",
    "SelfAttention",
    "TransformerBlock",
    "TransformerEncoder",
]
