"""The auxiliary losses of one batch: their draws, windows and sums."""

from typing import NamedTuple

import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_integer
from aux_keras.losses.auxiliary_loss import AuxiliaryLoss
from aux_keras.losses.scheduled_sampling import teacher_probability
from aux_keras.models import observation
from aux_keras.scan.rows import map_rows
from aux_keras.scan.windows import states_at


class Losses(NamedTuple):
    """One auxiliary loss of a batch: L_i and l_i, each `(batch, anchors)`."""

    segment_losses: tf.Tensor
    lengths: tf.Tensor


def schedules(model):
    """Epsilon of scheduled sampling now, or None; how far the curriculum has come, in [0, 1]."""
    feed = teacher_probability(model.training_step, model.sampling_decay_steps)
    left = teacher_probability(model.training_step, model.placement_growth_steps)
    return feed, 1.0 if left is None else 1.0 - left


def run_losses(
    losses, reading, key, feed, growth, training, ends=False, first=None, blocks=None
):  # fmt: skip
    """The auxiliary losses of a batch, and the record at the ends of its sequences.

    Args:
        losses: list of auxiliary losses.
        reading: `Reading` of the batch.
        key: `(2,)` int32, of the draws.
        feed: float scalar, epsilon of scheduled sampling, or None.
        growth: float scalar in [0, 1], how far the curriculum of placements has come.
        training: bool; gradients are cut short otherwise.
        ends: truncation of the record at the end of each sequence; `False` if not wanted.
        first: the record before the first step, by default that of the zero state.
        blocks: see `map_rows`.

    Returns:
        `(record, losses)`: tensors `(batch, width)` if `ends` are wanted, else `[]`; and
        `Losses` per auxiliary loss.
    """
    encoder, embedding, *batch = reading
    draws = [
        loss.draw(reading.lengths, randomness.fold_in(key, i), feed, training, growth)
        for i, loss in enumerate(losses, start=1)
    ]
    first = encoder.first(tf.shape(reading.lengths)[0]) if first is None else first

    def run(tokens, features, lengths, draws, first):
        requests = [loss.window(d) for loss, d in zip(losses, draws)]
        if ends is not False:
            requests.append((lengths[:, None], ends))
        if not training:
            requests = [request and (request[0], 0) for request in requests]
        # A loss that wants no state starts where the sequence does.
        records = [r or first for r in states_at(encoder, features, requests, first)]
        sums = [
            loss(tokens, d, record, encoder=encoder, embedding=embedding, features=features)
            for loss, d, record in zip(losses, draws, records)
        ]
        return [] if ends is False else [part[:, 0] for part in records[-1]], sums

    record, sums = map_rows(run, *batch, draws, first, blocks=blocks)
    return record, [Losses(*parts) for parts in sums]


def row_blocks(model):
    """Blocks of rows for `map_rows`: one in a step that XLA compiles as a whole."""
    return 1 if model.jit_compile is True else None


def build_losses(model, shape):
    """Builds the auxiliary losses of an `AuxiliaryModel` by hand: inference does without them.

    Args:
        model: the `AuxiliaryModel`.
        shape: that of its tokens.
    """
    if not observation.is_shape(shape) or len(shape) not in (2, 3):
        raise ValueError(
            "`tokens` must name the input of shape (batch, time, features), or (batch, time) "
            "of characters; texts become these before the model. "
            f"Received: tokens={model.tokens!r} of {shape}"
        )
    characters = len(shape) == 2
    embedding = model.token_embedding(characters)
    for loss in model.auxiliary:
        if loss.built:  # the model is built again, for other shapes
            continue
        loss.build_loss(
            embedding.vocabulary_size if characters else shape[-1], model.layer.cell,
            None if embedding is None else embedding.units, characters=characters,
        )  # fmt: skip


def find_loss(losses, name=None, kind=AuxiliaryLoss):
    """The auxiliary loss of that name, or the only one, of a kind.

    Raises:
        ValueError: if there is no such loss, or more than one.
    """
    found = [loss for loss in losses if isinstance(loss, kind)]
    named = [loss for loss in found if name in (None, loss.name)]
    if len(named) != 1:
        raise ValueError(
            f"`loss` must name one of {[loss.name for loss in found]}. Received: loss={name!r}"
        )
    return named[0]


def check_schedules(losses, sampling_decay_steps, placement_growth_steps):
    """Raises unless these arguments of `AuxiliaryModel` fit together."""
    if sampling_decay_steps is not None:
        check_integer("sampling_decay_steps", sampling_decay_steps, 1)
    if placement_growth_steps is not None:
        check_integer("placement_growth_steps", placement_growth_steps, 1)
    elif any(getattr(loss, "placement", None) == "curriculum" for loss in losses):
        raise ValueError(
            "`placement_growth_steps` must be given with a loss of placement='curriculum'. "
            "Received: placement_growth_steps=None"
        )


def check_outputs(losses, outputs):
    """Raises if what is logged of a loss has the name of an output's loss."""
    logged = {"supervised", "auxiliary", *(loss.name for loss in losses)}
    if losses and len(outputs) > 1 and (taken := sorted(logged & set(outputs))):
        raise ValueError(
            "`auxiliary` needs other names than the model's outputs, and these must not be "
            f"'auxiliary' or 'supervised'. Received: {taken} among {outputs}"
        )


def check_losses(auxiliary):
    """Raises unless these are new auxiliary losses with distinct names."""
    a_list = isinstance(auxiliary, (list, tuple))
    if not a_list or any(not isinstance(a, AuxiliaryLoss) or a.built or a.taken for a in auxiliary):
        raise ValueError(
            "`auxiliary` must be a list of losses, such as Reconstruction, each made for this "
            f"model alone. Received: {auxiliary!r}"
        )
    names = [loss.name for loss in auxiliary]
    if len(set(names)) < len(names):
        raise ValueError(f"`auxiliary` needs distinct names. Received: {names}")
