"""Language-model pretraining of the main RNN: LM-LSTM (Dai & Le 2015)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_readout, output_size
from aux_keras.layers.token_readout import TokenReadout, feed_forward_over_time, without_last
from aux_keras.losses.anchor_sampler import Segments, predicted_positions
from aux_keras.losses.auxiliary_loss import (
    AuxiliaryLoss,
    Draws,
    by_segment,
    candidates,
    readout_loss,
)
from aux_keras.losses.sampled_softmax import check_characters


@keras.saving.register_keras_serializable("aux_keras")
class LanguageModel(AuxiliaryLoss):
    """Predicts every token of a sequence from those before it, with the main RNN itself.

    An auxiliary loss over the whole sequence instead of a segment at an anchor: the main
    RNN reads from its first token on and a `TokenReadout` predicts the next one at every
    step. The state is made a constant every `truncation` steps.

    Args:
        truncation: int steps of back-propagation; None for no cut, 0 for none at all.
        hidden_units, drop_rate, drop_per: of the readout, see `TokenReadout`.
        num_sampled: see `Reconstruction`.

    Call arguments, Returns: see `AuxiliaryLoss`; there is one anchor.

    Raises:
        ValueError: on a bad truncation or `num_sampled`; on the others when the layer is built.

    Example:
        >>> loss = LanguageModel(truncation=100, hidden_units=256, drop_rate=0.5)

    Reference: Dai & Le 2015, "Semi-supervised sequence learning".
    """

    segment_length, shortest = 1, 2  # the shortest sequence with a loss has two tokens

    def __init__(
        self, truncation: int | None = 100, hidden_units: int | None = 256, drop_rate: float = 0.5,
        drop_per: str = "example", num_sampled: int | None = None, name: str = "language_model",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(truncation, num_sampled, drop_rate, name=name, **kwargs)
        check_readout("hidden_units", hidden_units, drop_rate, drop_per)
        self.hidden_units = hidden_units
        self.drop_rate = drop_rate
        self.drop_per = drop_per

    def build_loss(self, features, cell, token_units, characters=False):
        """Builds the readout, see `Reconstruction`."""
        del token_units
        check_characters(characters, self.num_sampled)
        self.readout = TokenReadout(
            features, self.hidden_units, self.drop_rate, self.drop_per,
            dtype=self.dtype_policy, name="readout",
        )  # fmt: skip
        self.readout.build((None, None, output_size(cell)))
        self.built = True

    def draw(self, lengths, key, feed_probability, training, growth=1.0):
        """See `SegmentLoss.draw`; only DropConnect masks and candidates are random."""
        del feed_probability, growth
        rows, none = tf.shape(lengths)[0], tf.zeros((tf.shape(lengths)[0], 1, 0))
        mask = none
        if training:
            mask = self.readout.draw_mask(rows, randomness.fold_in(key, 2))[:, None]
        words = candidates(self.readout, key, rows, 1, self.num_sampled if training else None)
        return Draws(self.segments(lengths[:, None]), tf.cast(none, tf.bool), none, mask, words)

    def segments(self, lengths):
        """What is predicted of sequences of the given lengths, `(batch, 1)`."""
        predicted = tf.maximum(lengths - 1, 0)  # none of a sequence that is all masked
        return Segments(predicted, tf.zeros_like(lengths), predicted)

    def window(self, draws):
        """None: this loss starts where the sequence does."""
        del draws

    def draw_recall(self, lengths, key, growth):
        """See `SegmentLoss.draw_recall`: the second half is read on from the middle."""
        half = lengths[:, None] // 2
        segments = Segments(half, half, tf.maximum(lengths[:, None] - 1 - half, 0))
        return self.draw(lengths, key, None, False, growth)._replace(segments=segments)

    def recall_window(self, draws):
        """`(counts, truncation)` of the state before the second half."""
        return draws.segments.anchors, self.truncation

    def positions(self, draws, steps):
        """See `SegmentLoss.positions`."""
        return predicted_positions(draws.segments, steps)

    def inputs_and_targets(self, tokens, features, starts=None):
        """What the RNN is fed and what it is to predict, of the shapes of features and tokens.

        The last input of a sequence is fed for nothing: its step is past the length.

        Args:
            tokens: `(batch, time, features)`, or `(batch, time)` characters.
            features: `(batch, time, width)`, what the RNN reads at these tokens; or `tokens`.
            starts: `(batch,)` int32, first input of each sequence, by default its first token.
        """
        if starts is not None:
            time = tf.shape(tokens)[1]
            positions = tf.minimum(starts[:, None] + tf.range(time), time - 1)
            tokens, features = (
                tf.gather(t, positions, axis=1, batch_dims=1) for t in (tokens, features)
            )
        return features, tf.roll(tokens, -1, axis=1)

    def token_losses(self, tokens, draws, record, encoder, embedding=None, features=None):
        """See `SegmentLoss.token_losses`; there are as many as time steps.

        `record` is that before the first token, `(rows, width)`, or that at the anchor.
        """
        del embedding  # the encoder has its own
        segments, from_anchor = draws.segments, record[0].shape.rank == 3
        inputs, targets = self.inputs_and_targets(
            tokens,
            tokens if features is None else features,
            segments.starts[:, 0] if from_anchor else None,
        )
        lengths, inputs = segments.lengths[:, 0], encoder.inputs(inputs)
        start = tuple(state[:, 0] for state in record) if from_anchor else record
        outputs = encoder.scan(inputs, start, lengths, self.truncation, "outputs")
        outputs = outputs[: tf.shape(targets)[1]]  # without the steps that `inputs` may have added
        mask, words = map(by_segment, draws[3:])
        readout = self.readout.weights_with(mask)
        if words is not None:
            readout = without_last(readout)
        predicted = feed_forward_over_time(outputs, *readout)
        return readout_loss(self.readout, targets, predicted, mask, words)[:, None]

    def get_config(self) -> dict[str, Any]:
        names = ("hidden_units", "drop_rate", "drop_per")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
