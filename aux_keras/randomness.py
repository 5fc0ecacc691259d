"""Stateless randomness: every draw is a function of its key and of nothing else.

A key is folded from (seed, component, training step), so that a run that was stopped and started
again draws what the unbroken run would have drawn. Draws are made for the global batch: a replica
of a `tf.distribute` strategy takes those of its rows, so that their number changes nothing. Philox
is named because the default algorithm differs between XLA and plain graphs.
"""

import threading

import tensorflow as tf


def fold_in(key, *values):
    """A new key from a key and integers.

    Args:
        key: int, or `(2,)` int32 tensor.
        *values: integers or integer scalars.

    Returns:
        `(2,)` int32 tensor.
    """
    if isinstance(key, int):
        key = tf.constant([key & 0x7FFFFFFF, key >> 31 & 0x7FFFFFFF], tf.int32)
    for value in values:
        key = _fold_in(key, tf.cast(value, tf.int32))
    return key


# Functions of their own: TensorFlow makes sixty operations of the scrambling of a key, which would
# be traced again for every draw and were a third of the time to trace a training step.
@tf.function(
    autograph=False, input_signature=[tf.TensorSpec((2,), tf.int32), tf.TensorSpec((), tf.int32)]
)
def _fold_in(key, value):
    return tf.random.fold_in(key, value, alg="philox")


@tf.function(autograph=False)
def _bits(key, shape):
    return tf.random.stateless_uniform(shape, key, None, None, tf.uint32, alg="philox")


def row_counts(rows):
    """Rows of every replica of a strategy, `(replicas,)` int32, or None if there is one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    place = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    return tf.cast(context.all_reduce("sum", place * tf.cast(rows, tf.float32)), tf.int32)


def share_of_batch(rows):
    """What part of the global batch a replica's rows are, float32 scalar."""
    counts = row_counts(rows)
    if counts is None:
        return tf.constant(1.0)
    return tf.cast(rows, tf.float32) / tf.cast(tf.reduce_sum(counts), tf.float32)


def batch_rows(rows):
    """Rows of the global batch, those before this replica's, and its own; None if it is alone.

    Args:
        rows: int32 scalar, the replica's own where no `KeyScope` knows them.
    """
    scope = KeyScope.innermost()
    counts = row_counts(rows) if scope is None else scope.row_counts
    if counts is None:
        return None
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    before = tf.reduce_sum(tf.where(tf.range(tf.size(counts)) < number, counts, 0))
    return tf.reduce_sum(counts), before, counts[number]


def global_rows(rows):
    """Where the rows of this replica are among those of all: `(total, offset)`, or None.

    Args:
        rows: int32 scalar; within a `KeyScope` a multiple of the batch size.
    """
    found = batch_rows(rows)
    if found is None:
        return None
    total, before, own = found
    times = tf.math.floordiv(rows, tf.maximum(own, 1))  # segments of an example
    return total * times, before * times


class KeyScope:
    """Gives the layers that are called inside the block keys from one key, in order of call.

    So all that they draw is a function of this key, and not of a state of their own.

    Args:
        key: `(2,)` int32.
        batch: int32 scalar, rows of this replica's batch.
    """

    open = threading.local()  # replicas are traced in threads of their own

    def __init__(self, key, batch):
        self.key = key
        self.row_counts = row_counts(batch)  # once: replicas have to talk for it
        self.count = 0

    def __enter__(self):
        self.outer, KeyScope.open.scope = KeyScope.innermost(), self
        return self

    def __exit__(self, *error):
        KeyScope.open.scope = self.outer

    @staticmethod
    def innermost():
        return getattr(KeyScope.open, "scope", None)

    def next_key(self):
        self.count += 1
        return fold_in(self.key, *([0] if self.count == 1 else [0, self.count]))


def next_key(seed_generator):
    """A key `(2,)` int32 for one call of a layer: of the scope, or of the layer's generator."""
    scope = KeyScope.innermost()
    return tf.cast(seed_generator.next(), tf.int32) if scope is None else scope.next_key()


def uniform(key, shape, by_row=True):
    """Uniform float32 draws from [0, 1), of the given shape.

    Made of random bits: TensorFlow's own floats differ between XLA and plain graphs.

    Args:
        key: `(2,)` int32.
        shape: integers, or an int32 tensor.
        by_row: bool, whether the first axis is that of the batch; else all replicas draw the same.
    """
    shape = tf.convert_to_tensor(shape, tf.int32)
    known = tf.get_static_value(shape, partial=True)
    rows = global_rows(shape[0]) if by_row else None
    if rows is None:
        bits = _bits(key, shape)
    else:  # Philox fills a shape row by row
        total, offset = rows
        bits = _bits(key, tf.concat([total[None], shape[1:]], 0))[offset : offset + shape[0]]
    bits.set_shape([None] * shape.shape[0] if known is None else known)
    return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24


def uniform_integer(key, count):
    """Uniform int32 draws, each from [0, count), elementwise.

    Args:
        key: `(2,)` int32.
        count: int32 tensor of any shape, at least 1.

    Returns:
        int32 tensor of the shape of `count`.
    """
    draw = tf.ensure_shape(uniform(key, tf.shape(count)), count.shape)
    draw = draw * tf.cast(count, tf.float32)
    return tf.minimum(tf.cast(draw, tf.int32), count - 1)  # float rounding can reach count


def dropout(tensor, rate, key, index):
    """Zeros with probability `rate`, and `1 / (1 - rate)` times the values elsewhere.

    Args:
        tensor: of any shape.
        rate: float in [0, 1); 0 draws nothing.
        key: `(2,)` int32.
        index: int, which draw of the key this is.
    """
    if not rate:
        return tensor
    kept = uniform(fold_in(key, index), tf.shape(tensor)) >= rate
    kept = tf.ensure_shape(kept, tensor.shape)
    return tf.where(kept, tensor / (1 - rate), tf.zeros_like(tensor))
