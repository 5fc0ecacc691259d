"""Recurrent networks that learn long-term dependencies with auxiliary losses.

Keras layers and models after Trinh, Dai, Luong and Le, "Learning Longer-term
Dependencies in RNNs with Auxiliary Losses", ICML 2018.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "aux_keras needs Keras's TensorFlow backend. Set the environment variable "
        f"KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}"
    )

from aux_keras.attention import (
    LocalAttention,
    MemoryCompressedAttention,
    SelfAttention,
    TransformerBlock,
)
from aux_keras.cells import IRNNCell, URNNCell
from aux_keras.layers import DropConnectDense, TokenEmbedding, TokenReadout, TruncatedRNN
from aux_keras.losses import (
    AnchorSampler,
    LanguageModel,
    Prediction,
    Reconstruction,
    SegmentDecoder,
    SequenceAutoencoder,
)
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier
from aux_keras.models.auxiliary_model import AuxiliaryModel
from aux_keras.models.feature_extractor import feature_extractor
from aux_keras.models.memory_profile import memory_profile
from aux_keras.models.transformer_classifier import TransformerClassifier

__version__ = "0.1.0"
__all__ = [
    "AnchorSampler",
    "AuxiliaryClassifier",
    "AuxiliaryModel",
    "DropConnectDense",
    "IRNNCell",
    "LanguageModel",
    "LocalAttention",
    "MemoryCompressedAttention",
    "Prediction",
    "Reconstruction",
    "SegmentDecoder",
    "SelfAttention",
    "SequenceAutoencoder",
    "TokenEmbedding",
    "TokenReadout",
    "TransformerBlock",
    "TransformerClassifier",
    "TruncatedRNN",
    "URNNCell",
    "feature_extractor",
    "memory_profile",
]
