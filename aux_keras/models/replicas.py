"""Gradients of several replicas of a `tf.distribute` strategy."""

import tensorflow as tf


def add_gradients(model, gradients):
    """The sum over replicas, so that an optimizer clips what one process would clip.

    Keras adds the gradients of replicas after it has clipped each; here it has nothing to add.

    Args:
        model: compiled Keras model.
        gradients: list, of its trainable weights.

    Returns:
        list of `(gradient, variable)` to apply: what a truncation of 0 or the phase leaves out has
        no gradient, and does not move.
    """
    pairs = [(g, v) for g, v in zip(gradients, model.trainable_weights) if g is not None]
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not pairs:
        return pairs
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a scaled loss
    inner._all_reduce_sum_gradients = list
    parts, variables = zip(*pairs)
    return list(zip(context.all_reduce("sum", list(parts)), variables))
