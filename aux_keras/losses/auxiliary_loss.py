"""What auxiliary losses have in common: draws, targets, losses."""

from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_truncation, revive, state_sizes
from aux_keras.losses.anchor_sampler import (
    AnchorSampler,
    Segments,
    gather_segments,
    predicted_positions,
)
from aux_keras.losses.objective import segment_loss, token_loss
from aux_keras.losses.sampled_softmax import (
    check_characters,
    check_sampled,
    draw_candidates,
    sampled_token_loss,
)
from aux_keras.scan.rows import merge_anchors


class Draws(NamedTuple):
    """All that is random in a loss for one batch; the first axis of each is `batch`.

    `segments`: where the segments are. `feed`: `(batch, anchors, l)` bool, whether the
    decoder is fed the true token. `uniform`: `(batch, anchors, l)` in [0, 1), what fed-back
    characters are drawn by. `mask`: DropConnect masks `(batch, anchors, hidden, features)`.
    `candidates`: `(batch, anchors, num_sampled)` int32, see `sampled_softmax`.
    The last four are `(batch, anchors, 0)` where they are not needed.
    """

    segments: Segments
    feed: tf.Tensor
    uniform: tf.Tensor
    mask: tf.Tensor
    candidates: tf.Tensor


def by_segment(draw):
    """A field of `Draws` with a row for each segment, or None where it is not needed."""
    return None if draw.shape[-1] == 0 else merge_anchors(draw)


def candidates(readout, key, rows, anchors, num_sampled):
    """The field of `Draws`; `(rows, anchors, 0)` where `num_sampled` is None."""
    if num_sampled is None:
        return tf.zeros((rows, anchors, 0), tf.int32)
    uniform = randomness.uniform(randomness.fold_in(key, 4), (rows, anchors, num_sampled))
    return draw_candidates(uniform, readout.features)


def readout_loss(readout, targets, predicted, mask, words):
    """TokenLoss of predictions or, with drawn words, of the outputs of the hidden layer."""
    if words is None:
        return token_loss(targets, predicted)
    return sampled_token_loss(targets, predicted, *readout.weights_with(mask)[2:], words)


class AuxiliaryLoss(keras.layers.Layer):
    """Base of all auxiliary losses.

    A subclass draws what is random in `draw`, names in `window` the state that it starts from, and
    computes `token_losses`.

    Call arguments:
        tokens: `(batch, time, features)`, or characters `(batch, time)`.
        draws: `Draws` of the batch.
        record: the main RNN's record at `window(draws)`, tensors
            `(batch, anchors, width)`.
        encoder: the main RNN as a recurrence, `TruncatedRNN.recurrence()`.
        embedding: the main RNN's `TokenEmbedding`, or None.
        features: `(batch, time, width)`, what the main RNN reads where it does not read the
            tokens themselves.

    Returns:
        `(losses, lengths)`, each `(batch, anchors)`: L_i of equation 2, float32, and
        l_i, int32.
    """

    def __init__(
        self, truncation: int | None, num_sampled: int | None, drop_rate: float, **kwargs: Any
    ) -> None:
        # Targets stay as they are: half precision would round what is to be predicted.
        super().__init__(autocast=False, **kwargs)
        self.truncation = check_truncation("truncation", truncation)
        self.num_sampled = check_sampled(num_sampled, drop_rate)
        self.taken = False  # by a model

    def call(
        self, tokens: tf.Tensor, draws: Any, record: Any, encoder: Any,
        embedding: Any = None, features: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:  # fmt: skip
        losses = self.token_losses(tokens, draws, record, encoder, embedding, features)
        return segment_loss(losses, draws.segments.lengths), draws.segments.lengths

    def get_config(self) -> dict[str, Any]:
        own = {"truncation": self.truncation, "num_sampled": self.num_sampled}
        return {**super().get_config(), **own}


class SegmentLoss(AuxiliaryLoss):
    """Base of reconstruction and prediction: segments at random anchors, token by token.

    A subclass makes the `decoder`, and predicts in `predict`.
    """

    samples = False  # whether the decoder's own outputs are fed back (scheduled sampling)

    def __init__(
        self, num_anchors: int, segment_length: int, placement: str, reverse: bool,
        truncation: int | None, decoder_truncation: int | None, num_sampled: int | None,
        drop_rate: float, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(truncation, num_sampled, drop_rate, **kwargs)
        self.decoder_truncation = check_truncation("decoder_truncation", decoder_truncation)
        self.reverse = reverse
        self.characters = False  # until it is built for them
        self.num_anchors = num_anchors
        self.segment_length = segment_length
        self.placement = placement
        self.sampler = AnchorSampler(num_anchors, segment_length, placement, name="sampler")

    @property
    def shortest(self):
        """Tokens of the shortest sequence with a segment of full length."""
        return self.sampler.shortest

    @property
    def readout(self):
        """What makes tokens of the decoder's outputs."""
        return self.decoder.readout

    def build_loss(self, features, cell, token_units, characters=False):
        """Builds the decoder by hand: it is not on the inference path.

        Args:
            features: int, width of a token, or number of characters.
            cell: that of the main RNN.
            token_units: int, width of an embedded token.
            characters: bool, whether tokens are characters.
        """
        self.characters = check_characters(characters, self.num_sampled)
        layers, states_shape, embedding_shape = self.decoder_shapes(cell, token_units)
        self.decoder.copy_cells(cell, layers)
        self.decoder.build((None, None, features), states_shape, embedding_shape)
        self.built = True

    def decoder_shapes(self, cell, token_units):
        """Default number of the decoder's cells, and the shapes that it is built for."""
        return 2, [(None, width) for width in state_sizes(cell)], token_units and (token_units,)

    def draw(self, lengths, key, feed_probability, training, growth=1.0):
        """Draws anchors, segments, what is fed, and DropConnect masks.

        Args:
            lengths: `(batch,)` int32, valid tokens.
            key: `(2,)` int32, see `randomness`.
            feed_probability: float scalar, epsilon of section 3.3; None for always.
            training: bool; no weights are dropped otherwise.
            growth: float scalar in [0, 1], how far the curriculum of placements has come.

        Returns:
            `Draws`.
        """
        segments = self.sampler(lengths, key=randomness.fold_in(key, 0), growth=growth)
        rows, n = tf.shape(lengths)[0], self.num_anchors
        feed, uniform = tf.zeros((rows, n, 0), tf.bool), tf.zeros((rows, n, 0))
        mask = uniform
        if self.samples and feed_probability is not None:
            shape = (rows, n, self.segment_length)
            feed = randomness.uniform(randomness.fold_in(key, 1), shape) < feed_probability
            if self.characters:
                uniform = randomness.uniform(randomness.fold_in(key, 3), shape)
        if training:
            mask = self.readout.draw_mask(rows * n, randomness.fold_in(key, 2))
            mask = tf.reshape(mask, (rows, n, *mask.shape[1:]))
        sampled = self.num_sampled if training else None
        return Draws(segments, feed, uniform, mask, candidates(self.readout, key, rows, n, sampled))

    def draw_recall(self, lengths, key, growth):
        """Draws by which the loss is asked what the main RNN remembers: free-running."""
        return self.draw(lengths, key, 0.0, False, growth)

    def recall_window(self, draws):
        """`window` of the result of `draw_recall`."""
        return self.window(draws)

    def positions(self, draws, steps):
        """Where each of the first `steps` predicted tokens stands, see `predicted_positions`."""
        return predicted_positions(draws.segments, steps, self.reverse)

    def token_losses(self, tokens, draws, record, encoder, embedding=None, features=None):
        """TokenLoss of every predicted token, `(batch, anchors, l)`; undefined past l_i."""
        slices, read = (
            merge_anchors(gather_segments(s, draws.segments, self.segment_length, self.reverse))
            for s in (tokens, tokens if features is None else features)
        )
        record = tuple(map(merge_anchors, record))
        feed, uniform, mask, words = map(by_segment, draws[1:])
        predicted = self.predict(
            slices, read, record, encoder, embedding, feed, uniform, mask, words is not None
        )
        losses = readout_loss(self.readout, slices[:, 1:], predicted, mask, words)
        return tf.reshape(losses, (-1, self.num_anchors, self.segment_length))

    def get_config(self) -> dict[str, Any]:
        decoder = self.decoder.get_config()
        names = ("cells", "hidden_units", "drop_rate", "drop_per")
        return {
            **super().get_config(),
            **{name: decoder[name] for name in names},
            "num_anchors": self.num_anchors,
            "segment_length": self.segment_length,
            "decoder_truncation": self.decoder_truncation,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "cells"))
