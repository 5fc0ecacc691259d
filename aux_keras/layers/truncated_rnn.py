"""Truncated back-propagation (sections 3, 4.1, 5.1) around any Keras RNN."""

import keras
import tensorflow as tf

from aux_keras.layers import recurrence
from aux_keras.layers.arguments import check_truncation, is_cell, revive
from aux_keras.layers.padding import valid_lengths
from aux_keras.layers.token_embedding import TokenEmbedding


@keras.saving.register_keras_serializable("aux_keras")
class TruncatedRNN(keras.layers.Layer):
    """Reads sequences with any Keras RNN and back-propagates through the last steps only.

    The gradient of the output passes through the last `truncation` steps of each
    sequence's own valid part; the state before them is a constant. Steps outside that
    window are run forward only and leave nothing behind, so that the memory of a
    training step does not grow with the sequence. The forward values are those of the
    RNN itself. Without `training=True` everything is a constant and nothing is kept.

    Args:
        rnn: `keras.layers.LSTM`, `GRU`, `SimpleRNN`, `RNN(cell)`, or a cell. Dropout
            inside the cell, `stateful`, `go_backwards`, `return_sequences` and
            `return_state` are refused.
        truncation: int, time steps; None for full back-propagation, 0 for no gradient.
        embedding: `TokenEmbedding` through which the tokens are read, or None.

    Call arguments:
        tokens: `(batch, time, features)`, or characters `(batch, time)`.
        lengths: `(batch,)` int, valid tokens of each sequence, by default all.
        training: bool.

    Returns:
        `(batch, units)`, the output at the last valid step.

    Raises:
        ValueError: on a negative or fractional truncation, or an RNN as refused above.

    Example:
        >>> layer = TruncatedRNN(keras.layers.LSTM(128), truncation=300)
        >>> layer(np.zeros((2, 784, 1))).shape
        TensorShape([2, 128])

    Reference: Trinh et al. 2018, sections 3 and 4.1.
    """

    def __init__(self, rnn, truncation, embedding=None, **kwargs):
        super().__init__(**kwargs)
        check_cell(rnn)
        for name in ("return_sequences", "return_state"):
            if getattr(rnn, name, False):
                raise ValueError(
                    f"`rnn` must not set `{name}`: the output is that of the last valid step "
                    f"alone. Received: rnn={rnn!r}"
                )
        self.truncation = check_truncation("truncation", truncation)
        self.rnn = rnn
        if embedding is not None and not isinstance(embedding, TokenEmbedding):
            raise ValueError(
                "`embedding` must be an aux_keras.TokenEmbedding, or None. "
                f"Received: embedding={embedding!r}"
            )
        self.embedding = embedding

    @property
    def cell(self):
        """The recurrent cell."""
        return check_cell(self.rnn)

    def build(self, tokens_shape):
        features = tokens_shape[-1]
        if self.embedding is not None:
            if not self.embedding.built:
                self.embedding.build((None, None, features))
            features = self.embedding.units
        if not self.rnn.built:
            time = () if self.rnn is self.cell else (None,)
            self.rnn.build((None, *time, features))
        self.built = True

    def call(self, tokens, lengths=None, training=False):
        tokens = tf.convert_to_tensor(tokens)
        counts = valid_lengths(tokens, lengths)[:, None]
        truncation = self.truncation if training else 0
        encoder = self.recurrence()

        def last_output(tokens, counts):
            return states_at(encoder, tokens, [(counts, truncation)])[0][0][:, 0]

        return recurrence.map_rows(last_output, tokens, counts)

    def recurrence(self):
        """The cell and embedding as they are now, ready to be unrolled."""
        return recurrence.make_recurrence(self.cell, self.embedding, self.compute_dtype)

    def compute_output_shape(self, tokens_shape, lengths_shape=None):
        return (tokens_shape[0], self.cell.output_size)

    def get_config(self):
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "truncation": self.truncation,
            "embedding": keras.saving.serialize_keras_object(self.embedding),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive(config, "rnn", "embedding"))


REFUSED = ("go_backwards", "stateful", "dropout", "recurrent_dropout")


def check_cell(rnn, refused=REFUSED):
    """The cell of an RNN layer, or the cell itself; refuses what cannot be truncated."""
    cell = rnn.cell if isinstance(rnn, keras.layers.RNN) else rnn
    if not is_cell(cell):
        raise ValueError(
            "`rnn` must be a Keras RNN layer (keras.layers.LSTM, GRU, SimpleRNN, RNN) or a "
            f"Keras RNN cell. Received: rnn={rnn!r}"
        )
    for name in refused:
        if getattr(rnn, name, False) or getattr(cell, name, False):
            raise ValueError(
                f"`rnn` must not set `{name}`: a window of back-propagation must repeat what "
                f"the forward run computed. Received: rnn={rnn!r}"
            )
    return cell


def states_at(encoder, tokens, requests):
    """Records after given numbers of tokens, each with its own horizon of gradient.

    One forward run gives the constant states in which windows start; every window is
    then run again with gradient, as a row of its own, so that windows that overlap do
    not see each other. Windows of one truncation run together, whoever asked for them.

    Args:
        encoder: a recurrence.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        requests: list of `(counts, truncation)`: `(rows, anchors)` int32 numbers of
            tokens read, and through how many of the last of them gradient passes. Or None.

    Returns:
        list of records with tensors `(rows, anchors, width)`, one per request; or None.
    """
    counts_by_truncation = {}
    for counts, truncation in filter(None, requests):
        counts_by_truncation.setdefault(truncation, []).append(counts)
    merged = [(tf.concat(counts, axis=1), k) for k, counts in counts_by_truncation.items()]
    records = _states_at(encoder, tokens, merged) if merged else []
    found = {
        k: iter(split_record(record, counts))
        for (k, counts), record in zip(counts_by_truncation.items(), records)
    }
    return [request and next(found[request[1]]) for request in requests]


def _states_at(encoder, tokens, requests):
    """`states_at` for one or more requests, no two of the same truncation."""
    starts = [tf.maximum(counts - (k or 0), 0) for counts, k in requests]
    befores = constant_or_full(encoder, tokens, requests, starts)
    return [
        window(encoder, tokens, start, counts - start, before, k) if k else before
        for (counts, k), start, before in zip(requests, starts, befores)
    ]


def constant_or_full(encoder, tokens, requests, starts):
    """Records at the starts: constants, or with all gradients where truncation is None."""
    time, truncations = tokens.shape[1] or tf.shape(tokens)[1], [k for _, k in requests]
    inputs, counts = encoder.inputs(tokens), tf.concat(starts, axis=1)
    rows = tf.shape(tokens)[0]
    first = encoder.first(rows)
    if None in truncations:
        steps = encoder.scan(inputs, first, tf.fill([rows], time))
        records = recurrence.at_counts(first, steps, counts)
    else:  # no window starts behind `time - min(K)`; XLA cannot compile a run of no steps
        needed = time - min(truncations)
        needed = max(needed, 1) if isinstance(needed, int) else tf.maximum(needed, 1)
        records = encoder.collect(inputs[:needed], counts)
    return [
        record if k is None else constant(record, start, first, k)
        for record, start, k in zip(split_record(records, starts), starts, truncations)
    ]


def split_record(record, counts):
    """One record for each of `counts`, of a record of all their anchors in a row."""
    parts = [tf.split(r, [c.shape[1] for c in counts], axis=1) for r in record]
    return list(zip(*parts))


def constant(record, counts, first, truncation):
    """The record as a constant, unless a window starts from the first one: that may be trained."""
    record = tuple(map(tf.stop_gradient, record))
    if truncation == 0:
        return record
    return tuple(tf.where(counts[..., None] > 0, r, f[:, None]) for r, f in zip(record, first))


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
    steps = min(truncation, time) if isinstance(time, int) else tf.minimum(truncation, time)
    positions = tf.minimum(start[..., None] + tf.range(steps), time - 1)
    tokens = tf.gather(tokens, positions, axis=1, batch_dims=1)
    record = encoder.scan(
        encoder.inputs(merge_anchors(tokens)),
        tuple(map(merge_anchors, before)),
        merge_anchors(lengths),
        returns="last",
    )
    return tuple(split_anchors(r, anchors) for r in record)


def merge_anchors(tensor):
    """`(rows, anchors, ...)` to `(rows * anchors, ...)`."""
    rows, anchors, *rest = tensor.shape
    rest = [tf.shape(tensor)[i + 2] if d is None else d for i, d in enumerate(rest)]
    return tf.reshape(tensor, [-1 if rows is None else rows * anchors, *rest])


def split_anchors(tensor, anchors):
    """`(rows * anchors, width)` to `(rows, anchors, width)`."""
    rows = tensor.shape[0]
    return tf.reshape(tensor, [-1 if rows is None else rows // anchors, anchors, tensor.shape[-1]])
