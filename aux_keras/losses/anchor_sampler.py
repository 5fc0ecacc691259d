"""Anchors and segments (sections 3.1, 3.2, 3.4, 5.4)."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_choice, check_positive

# Those of a segment to reconstruct; a segment to predict lies in the future.
PLACEMENTS = ("immediate", "past", "past_or_spill", "curriculum", "anywhere")
GROWTH = {"immediate": 0.0, "past_or_spill": 1.0}  # the two ends of the curriculum


class Segments(NamedTuple):
    """Where the auxiliary losses of a batch are; each field `(batch, anchors)` int32.

    A segment of length l is a slice of l + 1 tokens: the first l are fed, the last l
    predicted. Slices begin at `starts` and hold `lengths + 1` tokens, which stand in
    reverse order if the sampler's `reverse` is set.
    """

    anchors: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


@keras.saving.register_keras_serializable("aux_keras")
class AnchorSampler(keras.layers.Layer):
    """Draws random anchors, and a segment for each, inside every sequence's valid part.

    Anchors are uniform over the positions that leave the segment its full length;
    starts are uniform over what the placement allows. A sequence too short for that
    gives the longest segment that fits, one of a single token a segment of length 0.
    The state at anchor `a` has read token `a`.

    Placements of the slice of l + 1 tokens in a sequence of T tokens:

    * `"immediate"`: it ends with the anchor's token.
    * `"past"`: it lies wholly before the anchor, at a random distance.
    * `"past_or_spill"`: it lies at a random distance and may run past the anchor, with at
      least half of the predicted tokens at or before it: starts in
      `[0, min(a - ceil(l / 2), T - 1 - l)]`.
    * `"curriculum"`: the range of starts grows with `growth`, linearly, from that of
      `"immediate"` at 0 to that of `"past_or_spill"` at 1.
    * `"anywhere"`: it starts before the anchor, however much of it lies after the anchor.
    * `"future"`: it starts with the anchor's token, for prediction.

    Args:
        num_anchors: int, n of equation 1, anchors per sequence.
        segment_length: int, l of equation 2, predicted tokens per segment.
        placement: one of the above.
        seed: int, seed of the draws when `key` is not given.

    Call arguments:
        lengths: `(batch,)` int32, numbers of valid tokens.
        key: `(2,)` int32, see `randomness`; by default a new one at every call.
        growth: float scalar in [0, 1], how far the curriculum has come.

    Returns:
        `Segments`, each field `(batch, num_anchors)` int32.

    Raises:
        ValueError: if a count is not a positive integer or the placement is unknown.

    Example:
        >>> sampler = AnchorSampler(num_anchors=2, segment_length=3)
        >>> sampler(np.array([10, 20])).starts.shape
        TensorShape([2, 2])

    Reference: Trinh et al. 2018, sections 3.1, 3.4 and 5.4.
    """

    def __init__(
        self, num_anchors: int, segment_length: int, placement: str = "immediate",
        seed: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        check_choice("placement", placement, (*PLACEMENTS, "future"))
        self.num_anchors = check_positive("num_anchors", num_anchors)
        self.segment_length = check_positive("segment_length", segment_length)
        self.placement = placement
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def shortest(self):
        """Tokens of the shortest sequence with a segment of full length: the first is only
        fed, and with `"past"` the anchor's lies behind the slice."""
        return self.segment_length + (2 if self.placement == "past" else 1)

    def call(
        self, lengths: tf.Tensor, key: tf.Tensor | None = None, growth: float | tf.Tensor = 1.0
    ) -> Segments:
        if key is None:
            key = tf.cast(self.seed_generator.next(), tf.int32)
        total = tf.maximum(tf.cast(lengths, tf.int32), 1)  # all masked: one token, no segment
        total = tf.stack([total] * self.num_anchors, axis=1)
        length = tf.clip_by_value(
            total - self.shortest + self.segment_length, 0, self.segment_length
        )
        growth = GROWTH.get(self.placement, growth)
        first, last = self.anchor_range(total, length, growth)
        anchors = first + randomness.uniform_integer(randomness.fold_in(key, 0), last - first + 1)
        first, last = self.start_range(total, length, anchors, growth)
        starts = first + randomness.uniform_integer(randomness.fold_in(key, 1), last - first + 1)
        return Segments(anchors, starts, length)

    def anchor_range(self, total, length, growth):
        """First and last anchor that leave a segment of `length` room in `total` tokens."""
        if self.placement == "anywhere":
            return tf.minimum(total - 1, 1), total - 1
        if self.placement == "past":
            return tf.minimum(length + 1, total - 1), total - 1
        if self.placement == "future":
            return tf.zeros_like(total), total - 1 - length
        return length - share(growth, length // 2), total - 1

    def start_range(self, total, length, anchors, growth):
        """First and last start of the slice that belongs to an anchor."""
        zeros, latest = tf.zeros_like(total), total - 1 - length
        if self.placement == "anywhere":
            return zeros, tf.clip_by_value(anchors - 1, 0, latest)
        if self.placement == "past":
            return zeros, tf.maximum(anchors - length - 1, 0)
        if self.placement == "future":
            return anchors, anchors
        immediate = anchors - length
        before = tf.maximum(immediate, 0)  # of the growth: an early anchor has no past to go to
        last = immediate + share(growth, length // 2)
        return before - share(growth, before), tf.minimum(last, latest)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_anchors": self.num_anchors,
            "segment_length": self.segment_length,
            "placement": self.placement,
            "seed": self.seed,
        }


def share(growth, steps):
    """`growth` of a number of steps, int32, rounded down."""
    return tf.cast(growth * tf.cast(steps, tf.float32), tf.int32)


def predicted_positions(segments, steps, reverse=False):
    """Where in its sequence each of the first `steps` predicted tokens stands.

    Returns:
        `(batch, anchors, steps)` int32; values past a segment's length are undefined.
    """
    steps = tf.range(1, steps + 1)
    if reverse:
        steps = segments.lengths[..., None] - steps
    return segments.starts[..., None] + steps


def gather_segments(tokens, segments, segment_length, reverse=False):
    """The slices of `segments`; positions behind a shorter slice repeat valid tokens.

    Args:
        tokens: `(batch, time, features)`, or `(batch, time)` characters.
        segments: `Segments`.
        segment_length: int, l.
        reverse: bool, whether to reverse each slice (section 5.4).

    Returns:
        `(batch, anchors, segment_length + 1, features)`, or without the last axis.
    """
    steps = tf.minimum(tf.range(segment_length + 1), segments.lengths[..., None])
    if reverse:
        steps = segments.lengths[..., None] - steps
    return tf.gather(tokens, segments.starts[..., None] + steps, axis=1, batch_dims=1)
