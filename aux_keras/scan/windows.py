"""States at anchors: one forward run, and a window of back-propagation for each."""

import tensorflow as tf

from aux_keras.scan import recurrence
from aux_keras.scan.parts import most_steps
from aux_keras.scan.rows import merge_anchors, split_anchors


def states_at(encoder, tokens, requests, first=None):
    """Records after given numbers of tokens, each with its own horizon of gradient.

    One forward run gives the constant states in which windows start; every window is
    then run again with gradient, as a row of its own, so that windows that overlap do
    not see each other. Windows of one truncation run together, whoever asked for them.

    Args:
        encoder: a recurrence.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        requests: list of `(counts, truncation)`: `(rows, anchors)` int32 numbers of
            tokens read, and through how many of the last of them gradient passes. Or None.
        first: the record before the first token, by default that of the zero state.

    Returns:
        list of records with tensors `(rows, anchors, width)`, one per request; or None.
    """
    counts_by_truncation = {}
    for counts, truncation in filter(None, requests):
        counts_by_truncation.setdefault(truncation, []).append(counts)
    merged = [(tf.concat(counts, axis=1), k) for k, counts in counts_by_truncation.items()]
    first = encoder.first(tf.shape(tokens)[0]) if first is None else first
    records = _states_at(encoder, tokens, merged, first) if merged else []
    found = {
        k: iter(split_record(record, counts))
        for (k, counts), record in zip(counts_by_truncation.items(), records)
    }
    return [request and next(found[request[1]]) for request in requests]


def _states_at(encoder, tokens, requests, first):
    """`states_at` for one or more requests, no two of the same truncation."""
    starts = [tf.maximum(counts - (k or 0), 0) for counts, k in requests]
    befores = constant_or_full(encoder, tokens, requests, starts, first)
    return [
        window(encoder, tokens, start, counts - start, before, k) if k else before
        for (counts, k), start, before in zip(requests, starts, befores)
    ]


def constant_or_full(encoder, tokens, requests, starts, first):
    """Records at the starts: constants, or with all gradients where truncation is None."""
    truncations = [k for _, k in requests]
    counts = tf.concat(starts, axis=1)
    if None in truncations:
        steps = encoder.scan(encoder.inputs(tokens), first, tf.reduce_max(counts, axis=1))
        records = recurrence.at_counts(first, steps, counts)
    else:
        records = encoder.collect(tokens, first, counts)
    return [
        record if k is None else constant(record, start, first, k)
        for record, start, k in zip(split_record(records, starts), starts, truncations)
    ]


def split_record(record, counts):
    """One record for each of `counts`, of a record of all their anchors in a row."""
    parts = [tf.split(r, [c.shape[1] for c in counts], axis=1) for r in record]
    return list(zip(*parts))


def constant(record, counts, first, truncation):
    """The record as a constant, except at step 0, where the initial state may be trainable."""
    record = tuple(map(tf.stop_gradient, record))
    if truncation == 0:
        return record
    begun = counts[..., None] > 0
    return tuple(tf.where(begun, r, f[:, None]) for r, f in zip(record, first))


def window(encoder, tokens, start, lengths, before, truncation):
    """Runs `lengths` tokens from `start` on, with gradient.

    Args:
        encoder: a recurrence.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        start: `(rows, anchors)` int32, tokens read before.
        lengths: `(rows, anchors)` int32, at most `truncation`.
        before: record at `start`, tensors `(rows, anchors, width)`.
        truncation: int.

    Returns:
        record after `start + lengths` tokens, tensors `(rows, anchors, width)`.
    """
    time, anchors = tokens.shape[1] or tf.shape(tokens)[1], start.shape[1]
    steps = tf.range(most_steps(truncation, time))
    positions = tf.minimum(start[..., None] + steps, time - 1)
    tokens = tf.gather(tokens, positions, axis=1, batch_dims=1)
    record = encoder.scan(
        encoder.inputs(merge_anchors(tokens)),
        tuple(map(merge_anchors, before)),
        merge_anchors(lengths),
        returns="last",
    )
    return tuple(split_anchors(r, anchors) for r in record)
