"""Keras layers: what section 3 of the paper is made of, each usable alone."""

from aux_keras.layers.anchor_sampler import AnchorSampler, Segments, gather_segments
from aux_keras.layers.auxiliary_loss import normalized_auxiliary_loss, segment_loss, token_loss
from aux_keras.layers.drop_connect import DropConnectDense
from aux_keras.layers.irnn_cell import IRNNCell
from aux_keras.layers.language_model import LanguageModel
from aux_keras.layers.local_attention import LocalAttention
from aux_keras.layers.memory_compressed_attention import MemoryCompressedAttention
from aux_keras.layers.prediction import Prediction
from aux_keras.layers.reconstruction import Reconstruction
from aux_keras.layers.segment_decoder import SegmentDecoder
from aux_keras.layers.self_attention import SelfAttention
from aux_keras.layers.sequence_autoencoder import SequenceAutoencoder
from aux_keras.layers.token_embedding import TokenEmbedding
from aux_keras.layers.token_readout import TokenReadout
from aux_keras.layers.transformer_block import TransformerBlock
from aux_keras.layers.truncated_rnn import TruncatedRNN
from aux_keras.layers.urnn_cell import URNNCell

__all__ = [
    "AnchorSampler",
    "DropConnectDense",
    "IRNNCell",
    "LanguageModel",
    "LocalAttention",
    "MemoryCompressedAttention",
    "Prediction",
    "Reconstruction",
    "SegmentDecoder",
    "Segments",
    "SelfAttention",
    "SequenceAutoencoder",
    "TokenEmbedding",
    "TokenReadout",
    "TransformerBlock",
    "TruncatedRNN",
    "URNNCell",
    "gather_segments",
    "normalized_auxiliary_loss",
    "segment_loss",
    "token_loss",
]
