"""The paper's baselines without recurrence: Transformer and T-DMCA (section 4.2)."""

from typing import Any, Self

import keras

from aux_keras.arguments import revive
from aux_keras.attention.transformer_encoder import TransformerEncoder
from aux_keras.models.sequence_classifier import SequenceClassifier


@keras.saving.register_keras_serializable("aux_keras")
class TransformerClassifier(SequenceClassifier):
    """Classifies sequences with a `TransformerEncoder` and the head of `AuxiliaryClassifier`.

    Args:
        classes: int, number of classes.
        embedding: `TokenEmbedding`; its width is that of all blocks.
        blocks: list of `TransformerBlock`.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        input_drop_rate: float, dropout of the embedded tokens.
        **kwargs: `drop_per`, `output_initializer`, `activation`, `preprocessing`, see
            `SequenceClassifier`; `seed`, `name`, see `AuxiliaryModel`; `dtype`, see `keras.Model`.

    Call arguments and returns: as `AuxiliaryClassifier`.

    Raises:
        ValueError: if an argument or a shape is outside its documented range.

    Example:
        >>> blocks = [TransformerBlock(SelfAttention(num_heads=4), 64, drop_rate=0.1)]
        >>> model = TransformerClassifier(
        ...     10, TokenEmbedding(32), blocks, classifier_units=64, drop_rate=0.5,
        ...     input_drop_rate=0.1)
        >>> model.predict(np.zeros((2, 64, 1)), verbose=0).shape
        (2, 10)
    """

    def __init__(
        self, classes: int, embedding: keras.layers.Layer, blocks: list,
        classifier_units: int | None = 256, drop_rate: float = 0.5, input_drop_rate: float = 0.1,
        dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        encoder = TransformerEncoder(
            embedding, blocks, input_drop_rate, dtype=dtype, name="encoder"
        )
        super().__init__(classes, encoder, classifier_units, drop_rate, dtype=dtype, **kwargs)

    def get_config(self) -> dict[str, Any]:
        encoder = self.encoder.get_config()
        config = super().get_config()
        for name in ("auxiliary", "auxiliary_weight", "sampling_decay_steps",
                     "placement_growth_steps", "memory_gap"):  # fmt: skip
            del config[name]
        return {
            **config,
            "embedding": encoder["embedding"],
            "blocks": encoder["blocks"],
            "input_drop_rate": encoder["drop_rate"],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "embedding", "blocks"))
