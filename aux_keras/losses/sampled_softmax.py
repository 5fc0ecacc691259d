"""The loss of one word of a large vocabulary, estimated by the true one and a few drawn ones."""

import math

import tensorflow as tf

from aux_keras.arguments import check_positive


def check_sampled(num_sampled, drop_rate):
    """Returns `num_sampled`, or raises a `ValueError` that says what it needs."""
    if num_sampled is None:
        return None
    check_positive("num_sampled", num_sampled)
    if drop_rate:
        raise ValueError(
            "`num_sampled` must be None unless `drop_rate` is 0: DropConnect masks are as large as "
            f"the vocabulary. Received: {num_sampled=}, {drop_rate=}"
        )
    return num_sampled


def check_characters(characters, num_sampled):
    """Returns whether tokens are characters or words, which `num_sampled` needs."""
    if num_sampled is not None and not characters:
        raise ValueError(
            f"`num_sampled` must be None where tokens are real numbers. Received: {num_sampled=}"
        )
    return characters


def draw_candidates(uniform, vocabulary_size):
    """Words k with probability q(k) = log((k + 2) / (k + 1)) / log(vocabulary_size + 1).

    Zipf's law, for words that are numbered by falling frequency.

    Args:
        uniform: float32 in [0, 1).
        vocabulary_size: int.

    Returns:
        int32 of the shape of `uniform`.
    """
    drawn = tf.cast(tf.exp(uniform * math.log(vocabulary_size + 1)), tf.int32) - 1
    return tf.clip_by_value(drawn, 0, vocabulary_size - 1)


def log_probability(words, vocabulary_size):
    """log q of words, see `draw_candidates`."""
    words = tf.cast(words, tf.float32)
    return tf.math.log(tf.math.log1p(1 / (words + 1)) / math.log(vocabulary_size + 1))


def sampled_token_loss(targets, outputs, kernel, bias, candidates):
    """TokenLoss of words, `log sum_k exp(z_k) - z_y`, without most of the logits z = h W + w.

    The sum over all words but y is estimated by S drawn ones, each weighted by `1 / (S q(k))`: its
    expectation is the exact sum, its logarithm a little less. A drawn word that is y is left out.

    Args:
        targets: `(rows, time)` int32, y.
        outputs: `(rows, time, hidden)`, h.
        kernel, bias: `(hidden, vocabulary_size)` and `(vocabulary_size,)`, W and w.
        candidates: `(rows, S)` int32, a result of `draw_candidates`.

    Returns:
        `(rows, time)`, float32.

    Reference: Bengio & Senecal 2003, "Quick training of probabilistic neural nets by importance
    sampling"; Jean et al. 2015, "On using very large target vocabulary", section 3.
    """
    words = tf.transpose(kernel)
    true = tf.reduce_sum(outputs * tf.gather(words, targets), -1) + tf.gather(bias, targets)
    drawn = tf.matmul(outputs, tf.gather(words, candidates), transpose_b=True)
    drawn += tf.gather(bias, candidates)[:, None]
    true, drawn = tf.cast(true, tf.float32), tf.cast(drawn, tf.float32)
    log_q = log_probability(candidates, kernel.shape[-1])
    drawn -= log_q[:, None] + math.log(candidates.shape[-1])
    hit = candidates[:, None] == targets[..., None]
    drawn = tf.where(hit, drawn.dtype.min, drawn)
    return tf.reduce_logsumexp(tf.concat([true[..., None], drawn], -1), -1) - true
