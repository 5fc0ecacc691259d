"""Replicas of a `tf.distribute` strategy: their rows of a batch, their gradients."""

import warnings

import keras
import tensorflow as tf

from aux_keras import randomness

MEAN = "sum_over_batch_size"  # as Keras calls it


def worker_count(strategy):
    """The number of processes that train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(len(jobs.get(name, ())) for name in ("chief", "worker")))


def check_compiled_for(strategy, arguments):
    """Raises a `ValueError` for arguments of `compile` that TensorFlow cannot share out."""
    if strategy.num_replicas_in_sync == 1:
        return
    given = {"jit_compile": arguments.get("jit_compile") is True,
             "steps_per_execution": arguments.get("steps_per_execution", 1) != 1}  # fmt: skip
    for name in [name for name, refused in given.items() if refused]:
        raise ValueError(
            f"`{name}` must be left out with several replicas. Received: {name}={arguments[name]}"
        )
    if (found := reductions(arguments.get("loss"))) not in (set(), {MEAN}, {"sum"}):
        raise ValueError(
            f"`loss` must have the reduction {MEAN!r} with several replicas, or 'sum', of every "
            f"output the same. Received: reduction={sorted(map(str, found))}"
        )


def reductions(loss):
    """How Keras sums up the values of each loss that `compile` was given."""
    found = {getattr(each, "reduction", MEAN) for each in keras.tree.flatten(loss) if each}
    return {MEAN if reduction == "mean" else reduction for reduction in found}


def compute_loss(model, x, y, y_pred, sample_weight):
    """The supervised loss of a replica's rows, as Keras computes it, with all that is added to it.

    Returns:
        function of these rows' share of the global batch: a float32 scalar whose mean over all
        replicas, by share, is the loss of that batch.
    """
    loss, strategy = model.compute_loss(x, y, y_pred, sample_weight), model.distribute_strategy
    if (replicas := strategy.num_replicas_in_sync) == 1:
        return lambda share: loss
    added = sum(tf.cast(each, loss.dtype) for each in model.losses)

    def of_share(share):
        # Keras has divided by the number of replicas what is not a sum.
        own, mask = loss - added / replicas, getattr(y_pred, "_keras_mask", None)
        if reductions(model.compiled_with()["loss"]) == {"sum"}:
            return added + tf.math.divide_no_nan(own, share)
        if mask is None:
            return replicas * loss
        valid = tf.reduce_sum(tf.cast(mask, loss.dtype))  # each replica has the mean over its own
        every = tf.distribute.get_replica_context().all_reduce("sum", valid)
        part = tf.math.divide_no_nan(valid, every)
        return added + tf.math.divide_no_nan(replicas * own * part, share)

    return of_share


def share_batches(strategy, data):
    """Data of which every replica of every worker gets its rows.

    Rows go to replicas in order and in equal numbers, give or take one, so that every example is
    read once. TensorFlow's own sharding gives rows of other batches to each worker.

    Args:
        strategy: of several workers; with one the data is returned as it is, for Keras to share.
        data: `tf.data.Dataset` of batches of all workers, in the same order on each.

    Raises:
        ValueError: if several workers are given anything else.
    """
    if data is None or worker_count(strategy) == 1:
        return data
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(
            "With several workers give a `tf.data.Dataset` of batches, the same on every worker. "
            f"Received: {type(data).__name__}"
        )

    def own(context):
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * replicas

        @tf.autograph.experimental.do_not_convert
        def rows(*batch):
            size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

            @tf.autograph.experimental.do_not_convert
            def part(number):
                start, end = (
                    size * n // context.num_replicas_in_sync for n in (number, number + 1)
                )
                taken = tf.nest.map_structure(lambda t: t[start:end], batch)
                return taken if len(taken) > 1 else taken[0]

            return tf.data.Dataset.range(first, first + replicas).map(part)

        shared = data.flat_map(rows)
        if (count := data.cardinality()) >= 0:  # known
            shared = shared.apply(tf.data.experimental.assert_cardinality(count * replicas))
        return shared.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(own)


def roll_rows(tensor):
    """The rows of a batch, of all replicas together, rolled by one: each gets the one before it."""
    rows = randomness.batch_rows(tf.shape(tensor)[0])
    if rows is None:
        return tf.roll(tensor, 1, axis=0)
    total, offset, _ = rows
    ours = tf.range(tf.shape(tensor)[0]) + offset
    shape = tf.concat([total[None], tf.shape(tensor)[1:]], 0)
    # `all_gather` wants a device of its own.
    everything = tf.scatter_nd(ours[:, None], tensor, shape)
    everything = tf.distribute.get_replica_context().all_reduce("sum", everything)
    return tf.ensure_shape(tf.gather(everything, (ours - 1) % total), tensor.shape)


def apply_gradients(model, gradients):
    """Moves the weights of a model by gradients, a list, of its trainable ones."""
    if pairs := add_gradients(model, gradients):
        model.optimizer.apply_gradients(pairs)
    else:
        warnings.warn(
            "No weight moves: none that the losses read is trainable, or truncations of 0 leave no "
            "gradient.",
            stacklevel=2,
        )


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
