"""Anchors and segments lie where section 2 of the definitions puts them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from aux_keras.losses.anchor_sampler import GROWTH, AnchorSampler, gather_segments

L = 4
LENGTHS = np.array([0, 1, 2, L, L + 1, L + 2, 9])


def draw(placement, repeats=4000, lengths=LENGTHS, growth=1.0):
    """`(anchors, starts, lengths, totals)`, each `(draws,)`, for every sequence length."""
    sampler = AnchorSampler(repeats, L, placement)
    drawn = sampler(lengths, key=tf.constant([1, 2]), growth=growth)
    return [np.asarray(field) for field in drawn]


def longest(placement, total):
    """l_i: a slice of l_i + 1 tokens, and for `past` the anchor besides, fit into `total`."""
    return max(0, min(L, total - (2 if placement == "past" else 1)))


def allowed(placement, total, growth=1.0):
    """Every (anchor, start) the placement allows, by trying all of them."""
    length = longest(placement, total)
    pairs = []
    spilled = int(growth * (length // 2))  # predicted tokens that may lie behind the anchor
    for anchor in range(total):
        for start in range(total - length):
            end = start + length  # last token of the slice
            fits = {
                "anywhere": start < anchor,
                "past_or_spill": start <= anchor - math.ceil(length / 2),
                "curriculum": -spilled <= anchor - end <= int(growth * max(anchor - length, 0)),
                "past": end < anchor,
                "immediate": end == anchor,
                "future": start == anchor,
            }[placement]
            if fits:
                pairs.append((anchor, start))
    return pairs


@pytest.mark.parametrize(
    ("placement", "growth"),
    [(p, 1.0) for p in ("immediate", "past", "past_or_spill", "curriculum", "anywhere", "future")]
    + [("curriculum", growth) for growth in (0.0, 0.3, 0.5)],
)
def test_draws_exactly_what_is_allowed_uniformly(placement, growth):
    anchors, starts, lengths = draw(placement, growth=growth)
    for row, total in enumerate(LENGTHS):
        assert set(lengths[row]) == {longest(placement, total)}
        if total < 2:
            assert set(anchors[row]) == set(starts[row]) == {0}
            continue
        pairs = allowed(placement, total, growth)
        assert set(zip(anchors[row], starts[row])) == set(pairs)
        # Anchors are uniform, and starts uniform given the anchor: five standard deviations.
        choices = sorted({a for a, _ in pairs})
        n = anchors.shape[1]
        for anchor in choices:
            p = 1 / len(choices)
            share = np.mean(anchors[row] == anchor)
            assert abs(share - p) <= 5 * np.sqrt(p * (1 - p) / n)
            mine = starts[row][anchors[row] == anchor]
            possible = [s for a, s in pairs if a == anchor]
            for start in possible:
                q = 1 / len(possible)
                error = 5 * np.sqrt(q * (1 - q) / len(mine))
                assert abs(np.mean(mine == start) - q) <= error + 1e-12


def test_examples_and_calls_are_independent_and_keys_decide():
    sampler = AnchorSampler(1, 3, "past", seed=5)
    lengths = np.full(64, 1000)
    key = tf.constant([3, 4])
    one, again = sampler(lengths, key=key), sampler(lengths, key=key)
    assert np.array_equal(one.anchors, again.anchors)
    assert len(np.unique(one.anchors)) > 50  # 64 draws of about 1000 positions
    assert not np.array_equal(sampler(lengths).anchors, sampler(lengths).anchors)


@pytest.mark.parametrize("reverse", [False, True])
def test_gathered_slices(reverse):
    tokens = tf.range(20)[None, :, None] + 100 * tf.range(2)[:, None, None]
    sampler = AnchorSampler(3, L, "anywhere")
    segments = sampler(np.array([20, 3]), key=tf.constant([1, 1]))
    slices = gather_segments(tokens, segments, L, reverse).numpy()
    for b in range(2):
        for i in range(3):
            start, length = int(segments.starts[b, i]), int(segments.lengths[b, i])
            wanted = 100 * b + np.arange(start, start + length + 1)
            wanted = wanted[::-1] if reverse else wanted
            assert slices[b, i, : length + 1, 0].tolist() == wanted.tolist()


@pytest.mark.parametrize("name", ["num_anchors", "segment_length"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_counts_are_named(name, value):
    arguments = {"num_anchors": 1, "segment_length": 3, "placement": "past", name: value}
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
        AnchorSampler(**arguments)


def test_bad_placement_is_named():
    with pytest.raises(ValueError, match="`placement` must be one of"):
        AnchorSampler(1, 3, "before")


def test_the_curriculum_goes_from_immediate_to_past_or_spill():
    for total in range(2, 12):
        assert allowed("curriculum", total, 0.0) == allowed("immediate", total)
        assert allowed("curriculum", total, 1.0) == allowed("past_or_spill", total)


# The paper's settings of r-LSTM: time steps and l of every task (for texts the mean length).
PAPER = {
    "mnist": (784, 600), "cifar10": (1024, 600), "dbpedia": (300, 200), "dogs": (1600, 600),
    "cifar10 20x30": (1024, 30), "cifar10 200x3": (1024, 3), "dbpedia 20x15": (300, 15),
}  # fmt: skip


def coverage(placement, time, length, cut=None):
    """An exact count over all anchors and starts, at the end of the curriculum.

    Returns the probability that a position is predicted in a reversed segment (of its first
    `cut` tokens, if only these train the RNN), and the share of such tokens before the anchor.
    """
    sampler = AnchorSampler(1, length, placement)
    total, l_i = tf.constant([[time]]), tf.constant([[min(length, time - 1)]])
    growth = GROWTH.get(placement, 1.0)
    ends = [int(t[0, 0]) for t in sampler.anchor_range(total, l_i, growth)]
    anchors = np.arange(ends[0], ends[1] + 1)
    ranges = sampler.start_range(
        tf.fill((1, len(anchors)), time), tf.fill((1, len(anchors)), int(l_i[0, 0])),
        tf.constant(anchors[None], tf.int32), growth,
    )  # fmt: skip
    predicted, before = np.zeros(time + 1), 0.0
    for anchor, first, last in zip(anchors, *(np.asarray(r)[0] for r in ranges)):
        starts = np.arange(first, last + 1)
        weight = 1 / len(anchors) / len(starts)
        high = starts + int(l_i[0, 0])  # a reversed slice predicts start ... start + l - 1
        low = starts if cut is None else np.maximum(starts, high - cut)
        np.add.at(predicted, low, weight)
        np.add.at(predicted, high, -weight)
        before += weight * np.sum(np.clip(anchor + 1 - low, 0, high - low)) / (high - low)[0]
    return np.cumsum(predicted)[:-1], before


@pytest.mark.parametrize("task", PAPER)
@pytest.mark.parametrize("placement", ["immediate", "past_or_spill", "curriculum"])
def test_every_position_is_remembered_and_most_tokens_lie_before_the_anchor(placement, task):
    time, length = PAPER[task]
    predicted, before = coverage(placement, time, length)
    np.testing.assert_allclose(predicted.sum(), length, rtol=1e-6)
    assert np.all(predicted[: time - 1] > 0)  # the last token is only fed: nothing comes after it
    if placement == "immediate":
        assert before == pytest.approx(1)
        positions = time - length  # anchors: the first and the last are predicted from one alone
        assert predicted[0] == pytest.approx(1 / positions)
    else:
        assert before >= 0.5


def test_a_cut_decoder_with_segments_anywhere_trained_on_the_future():
    """The former defaults, K = 300: why they taught the RNN nothing."""
    _, before = coverage("anywhere", 784, 600, cut=300)
    assert before == pytest.approx(1 - 0.69, abs=0.01)
    predicted, _ = coverage("anywhere", 784, 600, cut=300)
    assert np.all(predicted[:300] == 0)
