"""Keras layers of section 4.1: each stands in any Keras model."""

from aux_keras import backend  # noqa: F401, before anything of Keras is made
from aux_keras.layers.drop_connect import DropConnectDense
from aux_keras.layers.token_embedding import TokenEmbedding
from aux_keras.layers.token_readout import TokenReadout
from aux_keras.layers.truncated_rnn import TruncatedRNN

__all__ = ["DropConnectDense", "TokenEmbedding", "TokenReadout", "TruncatedRNN"]
