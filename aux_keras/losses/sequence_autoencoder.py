"""Sequence-autoencoder pretraining of the main RNN: SA-LSTM (Dai & Le 2015)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.losses.anchor_sampler import Segments
from aux_keras.losses.language_model import LanguageModel


@keras.saving.register_keras_serializable("aux_keras")
class SequenceAutoencoder(LanguageModel):
    """Reads a sequence to its end, then writes it again from its first token on.

    Encoder and decoder are the main RNN: all weights are shared. The decoder starts from
    the state after the last token and is always fed true tokens; its first input is the
    padding token (id 0, or zeros), which says that the sequence is over. The gradient
    passes through the `truncation` steps before the end of the sequence, and the decoder's
    state is made a constant every `truncation` steps.

    Args:
        truncation, hidden_units, drop_rate, drop_per, num_sampled: see `LanguageModel`.

    Call arguments, Returns: see `AuxiliaryLoss`; there is one anchor, the last token.

    Raises:
        ValueError: as `LanguageModel`.

    Example:
        >>> loss = SequenceAutoencoder(truncation=100, hidden_units=256, drop_rate=0.5)

    Reference: Dai & Le 2015, "Semi-supervised sequence learning", section 2.
    """

    def __init__(
        self, truncation: int | None = 100, hidden_units: int | None = 256, drop_rate: float = 0.5,
        drop_per: str = "example", num_sampled: int | None = None,
        name: str = "sequence_autoencoder", **kwargs: Any,
    ) -> None:  # fmt: skip
        sizes = truncation, hidden_units, drop_rate, drop_per, num_sampled
        super().__init__(*sizes, name=name, **kwargs)

    def segments(self, lengths):
        return Segments(lengths - 1, tf.zeros_like(lengths), lengths)

    def window(self, draws):
        """`(counts, truncation)` of the state wanted: it has read the last token."""
        return draws.segments.anchors + 1, self.truncation

    def draw_recall(self, lengths, key, growth):
        return self.draw(lengths, key, None, False, growth)

    def recall_window(self, draws):
        return self.window(draws)

    def positions(self, draws, steps):
        return super().positions(draws, steps) - 1  # the first token is predicted too

    def inputs_and_targets(self, tokens, features, starts=None):
        del starts  # the first token always
        over = tf.zeros_like(features[:, :1])
        return tf.concat([over, features[:, :-1]], axis=1), tokens
