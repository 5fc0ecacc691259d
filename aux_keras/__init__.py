"""Recurrent networks that learn long-term dependencies with auxiliary losses.

Keras layers and models after Trinh, Dai, Luong and Le, "Learning Longer-term
Dependencies in RNNs with Auxiliary Losses", ICML 2018. Nothing is imported before it is used.
"""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "AnchorSampler": "losses",
    "AuxiliaryClassifier": "models.auxiliary_classifier",
    "AuxiliaryModel": "models.auxiliary_model",
    "DropConnectDense": "layers",
    "IRNNCell": "cells",
    "LanguageModel": "losses",
    "LocalAttention": "attention",
    "MemoryCompressedAttention": "attention",
    "Prediction": "losses",
    "Reconstruction": "losses",
    "SegmentDecoder": "losses",
    "SelfAttention": "attention",
    "SequenceAutoencoder": "losses",
    "TokenEmbedding": "layers",
    "TokenReadout": "layers",
    "TransformerBlock": "attention",
    "TransformerClassifier": "models.transformer_classifier",
    "TransformerEncoder": "attention",
    "TruncatedRNN": "layers",
    "URNNCell": "cells",
    "feature_extractor": "models.feature_extractor",
    "memory_profile": "models.memory_profile",
}
__all__ = sorted(_MODULES)


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
