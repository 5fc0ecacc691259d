"""Checks of a classifier's inputs: tokens, or a dictionary of tokens and lengths."""

import numpy as np
import tensorflow as tf

NO_TOKEN = (
    "`lengths` must be integers from 1 to the number of time steps, so that every sequence has a "
    "valid token"
)
CHARACTER = (
    "`tokens` holds something else than integers from 0 to vocabulary_size - 1. "
    "Received: vocabulary_size="
)


def check_tokens(x, expected):
    """Raises unless `x` is an array of tokens, or a dictionary of tokens and lengths."""
    if isinstance(x, (list, tuple, tf.RaggedTensor)):
        raise ValueError(
            "`inputs` must be right-padded tokens, or a dictionary of 'tokens' and 'lengths'. "
            f"Received: {type(x).__name__}"
        )
    if not isinstance(x, (np.ndarray, tf.Tensor, dict)):
        return  # of what Keras takes besides, it makes batches
    check_shapes(
        {k: np.shape(v) for k, v in x.items()} if isinstance(x, dict) else np.shape(x), expected
    )
    tokens, vocabulary_size = (
        np.asarray(x["tokens"] if isinstance(x, dict) else x),
        expected.vocabulary_size,
    )
    if vocabulary_size is not None and tokens.size:
        whole = np.issubdtype(tokens.dtype, np.integer)
        if not whole or tokens.min() < 0 or tokens.max() >= vocabulary_size:
            raise ValueError(
                f"{CHARACTER}{vocabulary_size}, {tokens.dtype} from {tokens.min()} "
                f"to {tokens.max()}"
            )
    if isinstance(x, dict):
        lengths = np.asarray(x["lengths"])
        inside = (lengths >= 1) & (lengths <= tokens.shape[1]) & (lengths % 1 == 0)
        if not inside.all():
            raise ValueError(f"{NO_TOKEN}. Received: {lengths[~inside][0]}")


def check_shapes(shapes, expected):
    """Raises unless shapes are those of tokens, or of the dictionary, that a model can take."""
    vocabulary_size = expected.vocabulary_size
    if isinstance(shapes, dict) and set(shapes) != {"tokens", "lengths"}:
        raise ValueError(
            f"`inputs` must have the keys 'tokens' and 'lengths'. Received: {sorted(shapes)}"
        )
    tokens = shapes["tokens"] if isinstance(shapes, dict) else shapes
    if isinstance(shapes, dict) and len(shapes["lengths"]) != 1:
        raise ValueError(
            f"`lengths` must be (batch,). Received: shape={tuple(shapes['lengths'])}; a dataset "
            "must be batched"
        )
    if vocabulary_size is not None and len(tokens) != 2:
        raise ValueError(
            f"`tokens` must be (batch, time) integers below vocabulary_size={vocabulary_size}; "
            f"a dataset must be batched. Received: shape={tuple(tokens)}"
        )
    if vocabulary_size is None and len(tokens) != 3:
        raise ValueError(
            "`tokens` must be (batch, time, features); batch a dataset, give scalars a last axis "
            "of 1, or characters an embedding with a `vocabulary_size`. "
            f"Received: shape={tuple(tokens)}"
        )
    if expected.features is not None and tokens[-1] not in (None, expected.features):
        raise ValueError(
            f"`tokens` must have the {expected.features} features that the model was built for. "
            f"Received: shape={tokens}"
        )


def check_tokens_of_batch(x, expected, check):
    """Adds the checks of characters and lengths."""
    tokens, vocabulary_size = x["tokens"] if isinstance(x, dict) else x, expected.vocabulary_size
    if vocabulary_size is not None:
        if tokens.dtype.is_floating:
            raise ValueError(f"{CHARACTER}{vocabulary_size}, {tokens.dtype.name}")
        ids = tf.cast(tokens, tf.int64)
        inside = tf.logical_and(ids >= 0, ids < vocabulary_size)
        check(inside, f"{CHARACTER}{vocabulary_size}", tf.reduce_min(ids), tf.reduce_max(ids))
    if isinstance(x, dict):
        lengths = tf.cast(x["lengths"], tf.int32)
        inside = tf.logical_and(lengths >= 1, lengths <= tf.shape(tokens)[1])
        whole = tf.cast(lengths, x["lengths"].dtype) == x["lengths"]
        check(tf.logical_and(inside, whole), NO_TOKEN, x["lengths"])
