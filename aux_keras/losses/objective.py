"""The auxiliary loss (section 3.4): equations 1 and 2."""

import tensorflow as tf


def token_loss(targets, predictions):
    """TokenLoss of section 3.4, by the type of the targets.

    Real tokens: the squared L2 distance, summed over features. Characters: the
    cross-entropy between the true one and the predicted distribution.

    Args:
        targets: `(..., features)`, true tokens; or integers `(...)`.
        predictions: `(..., features)`; or logits `(..., vocabulary_size)`.

    Returns:
        `(...)`, float32.
    """
    # float32: sums over hundreds of tokens lose their last digits in half precision.
    predictions = tf.cast(predictions, tf.float32)
    targets = tf.convert_to_tensor(targets)
    if not targets.dtype.is_floating:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, predictions)
    difference = tf.cast(targets, tf.float32) - predictions
    return tf.reduce_sum(tf.square(difference), axis=-1)


def segment_loss(token_losses, lengths):
    """Equation 2: `L_i`, the sum of TokenLoss_t for t = 1 ... l_i.

    Args:
        token_losses: `(..., l)` float32.
        lengths: `(...)` int32, l_i, at most l.

    Returns:
        `(...)` float32.
    """
    inside = tf.sequence_mask(lengths, tf.shape(token_losses)[-1])
    return tf.reduce_sum(tf.where(inside, token_losses, 0.0), axis=-1)


def normalized_auxiliary_loss(segment_losses, lengths):
    """Equation 1: the sum of L_i over the sum of l_i, over all segments of a batch.

    A batch without any predicted token has loss 0. With several replicas both sums are
    over all of them, and the mean over replicas of what they return is the loss.

    Args:
        segment_losses: `(batch, anchors)` float32, L_i.
        lengths: `(batch, anchors)` int32, l_i.

    Returns:
        float32 scalar.
    """
    total, count = tf.reduce_sum(segment_losses), tf.cast(tf.reduce_sum(lengths), tf.float32)
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        count = context.all_reduce("sum", count) / context.num_replicas_in_sync
    return tf.math.divide_no_nan(total, count)
