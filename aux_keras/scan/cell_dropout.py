"""Dropout inside Keras's recurrent cells: masks drawn once per sequence, and set for a step.

Keras's cells draw a mask at their first step and keep it in an attribute. A window of
back-propagation must repeat what the forward run computed, whichever rows it has, so the masks
are drawn here and travel with the rows. `_dropout_mask` and `_recurrent_dropout_mask` are
Keras's own names (3.15): there is no public way to give a cell its masks.
"""

import contextlib

import tensorflow as tf

from aux_keras import randomness

RATES = {"dropout": "_dropout_mask", "recurrent_dropout": "_recurrent_dropout_mask"}


def dropped(cell):
    """`(cell, attribute, rate, width, copies)` of every mask of a cell, or of cells stacked."""
    if hasattr(cell, "cells"):
        return [mask for part in cell.cells for mask in dropped(part)]
    if not hasattr(cell, "get_dropout_mask"):
        return []
    widths = {"dropout": cell.kernel.shape[0], "recurrent_dropout": cell.units}
    copies = getattr(cell, "dropout_mask_count", None)  # None: one, which is no list
    return [
        (cell, attribute, getattr(cell, name), widths[name], copies)
        for name, attribute in RATES.items() if getattr(cell, name)
    ]  # fmt: skip


def draw_masks(cell, rows, key, dtype):
    """Masks of a built cell, entries 0 or `1 / (1 - rate)`: tuple of `(rows, width)`."""
    masks = []
    for _, _, rate, width, copies in dropped(cell):
        for _ in range(copies or 1):
            kept = randomness.uniform(randomness.fold_in(key, len(masks)), (rows, width)) >= rate
            masks.append(tf.cast(kept, dtype) / (1 - rate))
    return tuple(masks)


@contextlib.contextmanager
def use_masks(cell, masks):
    """Sets the masks of a cell for the steps inside the block."""
    given = iter(masks)
    for part, attribute, _, _, copies in dropped(cell):
        mask = [next(given) for _ in range(copies or 1)]
        setattr(part, attribute, mask[0] if copies is None else mask)
    try:
        yield
    finally:
        for part, attribute, *_ in dropped(cell):
            setattr(part, attribute, None)
