"""The auxiliary losses of section 3."""

from aux_keras import backend  # noqa: F401, before anything of Keras is made
from aux_keras.losses.anchor_sampler import AnchorSampler
from aux_keras.losses.language_model import LanguageModel
from aux_keras.losses.prediction import Prediction
from aux_keras.losses.reconstruction import Reconstruction
from aux_keras.losses.segment_decoder import SegmentDecoder
from aux_keras.losses.sequence_autoencoder import SequenceAutoencoder

__all__ = [
    "AnchorSampler",
    "LanguageModel",
    "Prediction",
    "Reconstruction",
    "SegmentDecoder",
    "SequenceAutoencoder",
]
