"""Anchors and segments lie where section 2 of the definitions puts them."""

import numpy as np
import pytest
import tensorflow as tf

from aux_keras.layers import AnchorSampler, gather_segments

L = 4
LENGTHS = np.array([0, 1, 2, L, L + 1, L + 2, 9])


def draw(placement, repeats=4000, lengths=LENGTHS):
    """`(anchors, starts, lengths, totals)`, each `(draws,)`, for every sequence length."""
    sampler = AnchorSampler(repeats, L, placement)
    drawn = sampler(lengths, key=tf.constant([1, 2]))
    return [np.asarray(field) for field in drawn]


def longest(placement, total):
    """l_i: a slice of l_i + 1 tokens, and for `past` the anchor besides, fit into `total`."""
    return max(0, min(L, total - (2 if placement == "past" else 1)))


def allowed(placement, total):
    """Every (anchor, start) the placement allows, by trying all of them."""
    length = longest(placement, total)
    pairs = []
    for anchor in range(total):
        for start in range(total - length):
            end = start + length  # last token of the slice
            fits = {
                "spill": start < anchor,
                "past": end < anchor,
                "immediate": end == anchor,
                "future": start == anchor,
            }[placement]
            if fits:
                pairs.append((anchor, start))
    return pairs


@pytest.mark.parametrize("placement", ["spill", "past", "immediate", "future"])
def test_draws_exactly_what_is_allowed_uniformly(placement):
    anchors, starts, lengths = draw(placement)
    for row, total in enumerate(LENGTHS):
        assert set(lengths[row]) == {longest(placement, total)}
        if total < 2:
            assert set(anchors[row]) == set(starts[row]) == {0}
            continue
        pairs = allowed(placement, total)
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
    sampler = AnchorSampler(3, L, "spill")
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
