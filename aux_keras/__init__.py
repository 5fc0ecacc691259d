"""Recurrent networks that learn long-term dependencies with auxiliary losses.

Keras layers and models after Trinh, Dai, Luong and Le, "Learning Longer-term
Dependencies in RNNs with Auxiliary Losses", ICML 2018. Nothing is imported before it is used, or
before Keras is: from then on Keras can load what was saved of ours.
"""

import importlib
import importlib.abc
import importlib.util
import sys
import typing

__version__ = "0.1.0"

_MODULES = {
    "AnchorSampler": "losses.anchor_sampler",
    "AuxiliaryClassifier": "models.auxiliary_classifier",
    "AuxiliaryModel": "models.auxiliary_model",
    "DropConnectDense": "layers.drop_connect",
    "IRNNCell": "cells.irnn",
    "LanguageModel": "losses.language_model",
    "LocalAttention": "attention.local_attention",
    "MemoryCompressedAttention": "attention.memory_compressed",
    "Prediction": "losses.prediction",
    "Reconstruction": "losses.reconstruction",
    "SegmentDecoder": "losses.segment_decoder",
    "SelfAttention": "attention.self_attention",
    "SequenceAutoencoder": "losses.sequence_autoencoder",
    "TokenEmbedding": "layers.token_embedding",
    "TokenReadout": "layers.token_readout",
    "TransformerBlock": "attention.transformer_block",
    "TransformerClassifier": "models.transformer_classifier",
    "TransformerEncoder": "attention.transformer_encoder",
    "TruncatedRNN": "layers.truncated_rnn",
    "URNNCell": "cells.urnn",
    "feature_extractor": "models.feature_extractor",
    "memory_profile": "models.memory_profile",
    "reconstructions": "pictures.reconstructions",
}
__all__ = sorted(_MODULES)

if typing.TYPE_CHECKING:  # type checkers do not run `__getattr__`
    from aux_keras.attention.local_attention import LocalAttention as LocalAttention
    from aux_keras.attention.memory_compressed import (
        MemoryCompressedAttention as MemoryCompressedAttention,
    )
    from aux_keras.attention.self_attention import SelfAttention as SelfAttention
    from aux_keras.attention.transformer_block import TransformerBlock as TransformerBlock
    from aux_keras.attention.transformer_encoder import TransformerEncoder as TransformerEncoder
    from aux_keras.cells.irnn import IRNNCell as IRNNCell
    from aux_keras.cells.urnn import URNNCell as URNNCell
    from aux_keras.layers.drop_connect import DropConnectDense as DropConnectDense
    from aux_keras.layers.token_embedding import TokenEmbedding as TokenEmbedding
    from aux_keras.layers.token_readout import TokenReadout as TokenReadout
    from aux_keras.layers.truncated_rnn import TruncatedRNN as TruncatedRNN
    from aux_keras.losses.anchor_sampler import AnchorSampler as AnchorSampler
    from aux_keras.losses.language_model import LanguageModel as LanguageModel
    from aux_keras.losses.prediction import Prediction as Prediction
    from aux_keras.losses.reconstruction import Reconstruction as Reconstruction
    from aux_keras.losses.segment_decoder import SegmentDecoder as SegmentDecoder
    from aux_keras.losses.sequence_autoencoder import SequenceAutoencoder as SequenceAutoencoder
    from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier as AuxiliaryClassifier
    from aux_keras.models.auxiliary_model import AuxiliaryModel as AuxiliaryModel
    from aux_keras.models.feature_extractor import feature_extractor as feature_extractor
    from aux_keras.models.memory_profile import memory_profile as memory_profile
    from aux_keras.models.transformer_classifier import (
        TransformerClassifier as TransformerClassifier,
    )
    from aux_keras.pictures.reconstructions import reconstructions as reconstructions


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(f"aux_keras.{_MODULES[name]}"), name)
    try:
        return importlib.import_module(f"aux_keras.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"aux_keras.{name}":
            raise
        raise AttributeError(f"module 'aux_keras' has no attribute {name!r}") from None


def __dir__():
    return sorted({*globals(), *__all__})


def _register():
    """Imports every class, which registers it with Keras."""
    for module in set(_MODULES.values()):
        importlib.import_module(f"aux_keras.{module}")


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers our classes as soon as Keras has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterKeras())
