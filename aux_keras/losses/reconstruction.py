"""Reconstruction of the past: the auxiliary loss of r-LSTM (section 3.1)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_choice
from aux_keras.losses.anchor_sampler import PLACEMENTS, Segments, gather_segments
from aux_keras.losses.auxiliary_loss import SegmentLoss
from aux_keras.losses.segment_decoder import SegmentDecoder
from aux_keras.scan.rows import merge_anchors


@keras.saving.register_keras_serializable("aux_keras")
class Reconstruction(SegmentLoss):
    """Reconstructs segments of what the main RNN has read, from its state at an anchor.

    A `SegmentDecoder` starts from the state at the anchor and is fed by scheduled
    sampling. The gradient enters the main RNN at the anchor and passes through the
    `truncation` steps that end there.

    Args:
        cells: list of Keras RNN cells of the decoder, bottom first; by default two of the main
            RNN's kind and width, as in the paper, without its dropout and regularizers.
        num_anchors: int, n, segments per sequence.
        segment_length: int, l, predicted tokens per segment.
        truncation: int steps of back-propagation in the main RNN; None for all, 0 for none.
        hidden_units, drop_rate: of the readout, see `TokenReadout`. The defaults of these five
            are the paper's.
        placement: `"immediate"`, `"past"`, `"past_or_spill"`, `"curriculum"` or `"anywhere"`,
            see `AnchorSampler`.
        reverse: bool, whether to reverse a segment before it is fed and predicted.
        decoder_truncation: int, steps after which the decoder's state becomes a constant;
            None: never, so that every token of the segment trains the main RNN.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        feedback, feedback_gradient: see `SegmentDecoder`.
        num_sampled: int, for large vocabularies: how many words beside the true one each segment is
            compared with in training (see `sampled_softmax`; numbered by falling frequency); None
            for all. Evaluations are exact.

    Call arguments, Returns: see `AuxiliaryLoss`.

    Raises:
        ValueError: on arguments outside these ranges.

    Example:
        >>> loss = Reconstruction(segment_length=50, truncation=25)
        >>> small = Reconstruction([keras.layers.LSTMCell(32)], segment_length=50, truncation=25,
        ...                        hidden_units=64)

    Reference: Trinh et al. 2018, sections 3.1, 3.3, 4.1, 5.4.
    """

    samples = True

    def __init__(
        self, cells: list | None = None, num_anchors: int = 1, segment_length: int = 600,
        truncation: int | None = 300, hidden_units: int | None = 256, drop_rate: float = 0.5,
        placement: str = "immediate", reverse: bool = True, decoder_truncation: int | None = None,
        drop_per: str = "example", feedback: str = "sample", feedback_gradient: bool = False,
        num_sampled: int | None = None,
        name: str = "reconstruction", **kwargs: Any,
    ) -> None:  # fmt: skip
        check_choice("placement", placement, PLACEMENTS)
        super().__init__(
            num_anchors, segment_length, placement, reverse, truncation, decoder_truncation,
            num_sampled, drop_rate, name=name, **kwargs,
        )  # fmt: skip
        self.decoder = SegmentDecoder(
            cells, hidden_units, drop_rate, decoder_truncation, drop_per, feedback,
            feedback_gradient, dtype=self.dtype_policy, name="decoder",
        )  # fmt: skip

    def window(self, draws):
        """`(counts, truncation)` of the state wanted: it has read the anchor's token."""
        return draws.segments.anchors + 1, self.truncation

    def predict(self, segments, read, record, encoder, embedding, feed, uniform, mask, hidden):
        states = encoder.states(record)
        return self.decoder(
            segments, states, feed=feed, uniform=uniform, drop_mask=mask, embedding=embedding,
            hidden=hidden,
        )  # fmt: skip

    def reconstruct(self, tokens, anchors, length, record, encoder, embedding):
        """The `length` tokens up to each anchor as the decoder says them, free-running.

        Args:
            tokens: `(batch, time, features)`, or characters `(batch, time)`.
            anchors: `(batch, anchors)` int32, at least `length`.
            length: int.
            record, encoder, embedding: as in the call, with no gradient.

        Returns:
            `(batch, anchors, length, features)`, or characters `(batch, anchors, length)`, in
            the order of the sequence; the true token that is fed first is not among them.
        """
        segments = Segments(anchors, anchors - length, tf.fill(tf.shape(anchors), length))
        slices = merge_anchors(gather_segments(tokens, segments, length, self.reverse))
        predicted = self.decoder(
            slices, encoder.states([merge_anchors(r) for r in record]),
            feed=tf.zeros((tf.shape(slices)[0], length), tf.bool), embedding=embedding,
            feedback="argmax",
        )  # fmt: skip
        if self.characters:
            predicted = tf.argmax(predicted, -1, tf.int32)
        if self.reverse:
            predicted = tf.reverse(predicted, [1])
        shape = [-1, anchors.shape[1], length, *predicted.shape[2:]]
        return tf.reshape(predicted, shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "placement": self.placement,
            "reverse": self.reverse,
            "feedback": self.decoder.feedback,
            "feedback_gradient": self.decoder.feedback_gradient,
        }
