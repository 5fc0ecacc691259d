"""Prediction of the future: the auxiliary loss of p-LSTM (section 3.2)."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_choice, output_size
from aux_keras.losses.auxiliary_loss import SegmentLoss
from aux_keras.losses.segment_decoder import SegmentDecoder

STRUCTURES = ("stacked", "decoder")


@keras.saving.register_keras_serializable("aux_keras")
class Prediction(SegmentLoss):
    """Predicts the tokens that follow an anchor, each from those before it.

    `structure="stacked"` (Figure 2, right): the main RNN goes on reading true tokens from
    the anchor on, `cells` read its outputs from a zero state, and a two-layer FFN
    predicts the next token at every step. The state before the anchor is a constant;
    gradient enters the main RNN at every step of the segment, and its state is made a
    constant every `truncation` steps. `structure="decoder"`: the `SegmentDecoder` of the
    reconstruction, started from the state at the anchor and always fed true tokens; its
    gradient passes through the `truncation` steps that end at the anchor.

    Args:
        cells: list of Keras RNN cells, bottom first; by default of the main RNN's kind and
            width, one as in the paper's figure, or two in the decoder form; without its dropout and
            regularizers.
        num_anchors: int, n, segments per sequence.
        segment_length: int, l, predicted tokens per segment.
        truncation: int steps of back-propagation in the main RNN; None for all, 0 for none.
        hidden_units, drop_rate: of the readout, see `TokenReadout`. The defaults of these five
            are the paper's.
        structure: `"stacked"` or `"decoder"`.
        decoder_truncation: int, steps after which the state of `cells` becomes a constant;
            None: never.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        num_sampled: see `Reconstruction`.

    Call arguments, Returns: see `AuxiliaryLoss`.

    Raises:
        ValueError: on arguments outside these ranges.

    Example:
        >>> loss = Prediction(segment_length=50, truncation=25)
        >>> small = Prediction([keras.layers.LSTMCell(32)], segment_length=50, truncation=25,
        ...                    hidden_units=64)

    Reference: Trinh et al. 2018, section 3.2 and Figure 2.
    """

    def __init__(
        self, cells: list | None = None, num_anchors: int = 1, segment_length: int = 600,
        truncation: int | None = 300, hidden_units: int | None = 256, drop_rate: float = 0.5,
        structure: str = "stacked", decoder_truncation: int | None = None,
        drop_per: str = "example", num_sampled: int | None = None, name: str = "prediction",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        check_choice("structure", structure, STRUCTURES)
        super().__init__(
            num_anchors, segment_length, "future", False, truncation, decoder_truncation,
            num_sampled, drop_rate, name=name, **kwargs,
        )  # fmt: skip
        self.structure = structure
        self.decoder = SegmentDecoder(
            cells, hidden_units, drop_rate, decoder_truncation, drop_per,
            dtype=self.dtype_policy, name="decoder",
        )  # fmt: skip

    def decoder_shapes(self, cell, token_units):
        if self.structure == "stacked":
            return 1, None, (output_size(cell),)
        return super().decoder_shapes(cell, token_units)

    def window(self, draws):
        """`(counts, truncation)` of the state wanted: stacked prediction reads the anchor's
        token again, from the constant state before it."""
        anchors = draws.segments.anchors
        return (anchors, 0) if self.structure == "stacked" else (anchors + 1, self.truncation)

    def predict(self, segments, read, record, encoder, embedding, feed, uniform, mask, hidden):
        if self.structure == "decoder":
            states = encoder.states(record)
            return self.decoder(
                segments, states, drop_mask=mask, embedding=embedding, hidden=hidden
            )
        inputs = encoder.inputs(read[:, :-1])
        lengths = tf.fill([tf.shape(segments)[0]], tf.shape(inputs)[0])
        outputs = encoder.scan(inputs, record, lengths, self.truncation, "outputs")
        return self.decoder.read(outputs, mask, hidden)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "structure": self.structure}
