"""Rows of a batch: in blocks that run side by side, and as many as there are anchors."""

import functools
import os

import tensorflow as tf


def map_rows(function, *rows, blocks=None, least=8):
    """Applies a function to blocks of rows, one block per core, and joins the results.

    TensorFlow runs the blocks side by side; a compiled loop on its own runs on one core.

    Args:
        function: takes and returns nests of tensors whose first axis is rows, and
            treats every row by itself.
        *rows: its arguments, with the same number of rows.
        blocks: number of blocks, by default the number of cores.
        least: no block is smaller than this, where the number of rows is known.

    Returns:
        `function(*rows)`.
    """
    first = tf.nest.flatten(rows)[0]
    size, blocks = first.shape[0], blocks or core_count()
    if size is not None:
        blocks = max(1, min(blocks, size // least))
    if blocks == 1:
        return function(*rows)
    size = size or tf.shape(first)[0]
    ends = [size * i // blocks for i in range(blocks + 1)]
    parts = [
        function(*tf.nest.map_structure(lambda r, lo=low, hi=high: r[lo:hi], rows))
        for low, high in zip(ends, ends[1:])
    ]
    return tf.nest.map_structure(lambda *part: tf.concat(part, axis=0), *parts)


@functools.cache
def core_count():
    """Cores of this process; 1 where a GPU does the work."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def merge_anchors(tensor):
    """`(rows, anchors, ...)` to `(rows * anchors, ...)`; parts of `(time, ...)` to the whole."""
    rows, anchors, *rest = tensor.shape
    rest = [tf.shape(tensor)[i + 2] if d is None else d for i, d in enumerate(rest)]
    return tf.reshape(tensor, [-1 if rows is None else rows * anchors, *rest])


def split_anchors(tensor, anchors):
    """`(rows * anchors, width)` to `(rows, anchors, width)`."""
    rows = tensor.shape[0]
    return tf.reshape(tensor, [-1 if rows is None else rows // anchors, anchors, tensor.shape[-1]])
