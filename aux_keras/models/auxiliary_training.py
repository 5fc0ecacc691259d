"""Training with auxiliary losses: their draws, windows and sums, and the phase before labels."""

import math
import numbers
from typing import NamedTuple

import keras
import tensorflow as tf

from aux_keras.layers import randomness
from aux_keras.layers.auxiliary_loss import normalized_auxiliary_loss
from aux_keras.layers.reconstruction import Reconstruction
from aux_keras.layers.recurrence import map_rows
from aux_keras.layers.scheduled_sampling import teacher_probability
from aux_keras.layers.truncated_rnn import states_at
from aux_keras.models import input_checks
from aux_keras.models.clocked_model import EVALUATION, ClockedModel, check_integer
from aux_keras.models.gradient_floor import warn_if_damped
from aux_keras.models.memory_gap import MemoryGap, gaps_of, recall
from aux_keras.models.reconstruct import reconstruct


class _Kept:
    """Holds what Keras must not track: the arguments of `compile`."""

    def __init__(self, **arguments):
        self.arguments = arguments


class Losses(NamedTuple):
    """One auxiliary loss of a batch.

    `segment_losses`, `lengths`: L_i and l_i, each `(batch, anchors)`. `gaps`: see
    `sequence_gaps`; None where they are not asked for.
    """

    segment_losses: tf.Tensor
    lengths: tf.Tensor
    gaps: tuple | None = None


class AuxiliaryTraining(ClockedModel):
    """What a model with auxiliary losses has: `pretrain`, and the losses in its training step.

    Args:
        auxiliary: list of auxiliary losses with distinct names.
        auxiliary_weight: float; with 0 the auxiliary losses are used by `pretrain` alone.
        sampling_decay_steps: int, training steps in which the decoders go from true
            tokens to their own outputs; None to feed true tokens always.
        placement_growth_steps: int, training steps in which the placement `"curriculum"`
            goes from `"immediate"` to `"past_or_spill"`.
        memory_gap: bool, whether evaluations log the memory gap of every loss.

    Raises:
        ValueError: on what is no list of new losses, names that are not distinct, fewer than
            one step, or a curriculum without its number of steps.
    """

    def __init__(
        self, *arguments, auxiliary, auxiliary_weight, sampling_decay_steps,
        placement_growth_steps=None, memory_gap=False, **kwargs,
    ):  # fmt: skip
        super().__init__(*arguments, **kwargs)
        a_list = isinstance(auxiliary, (list, tuple))
        if not a_list or any(getattr(task, "built", True) for task in auxiliary):
            raise ValueError(
                "`auxiliary` must be a list of losses, such as Reconstruction, each made for this "
                f"model alone. Received: {auxiliary!r}"
            )
        names = [task.name for task in auxiliary]
        if len(set(names)) < len(names):
            raise ValueError(f"`auxiliary` needs distinct names. Received: {names}")
        if sampling_decay_steps is not None:
            check_integer("sampling_decay_steps", sampling_decay_steps, 1)
        if placement_growth_steps is not None:
            check_integer("placement_growth_steps", placement_growth_steps, 1)
        elif any(getattr(task, "placement", None) == "curriculum" for task in auxiliary):
            raise ValueError(
                "`placement_growth_steps` must be given with a loss of placement='curriculum'. "
                "Received: placement_growth_steps=None"
            )
        if not isinstance(auxiliary_weight, numbers.Real) or not 0 <= auxiliary_weight < math.inf:
            raise ValueError(
                f"`auxiliary_weight` must be a number from 0 on. Received: {auxiliary_weight=}"
            )
        self.auxiliary = list(auxiliary)
        self.auxiliary_weight = auxiliary_weight
        self.sampling_decay_steps = sampling_decay_steps
        self.placement_growth_steps = placement_growth_steps
        self.memory_gap = memory_gap
        self.pretraining = False
        logged = [f"{name}_loss" for name in names] if len(names) > 1 else []
        logged += ["auxiliary_loss"] if names else []
        self.trackers.update({name: keras.metrics.Mean(name=name) for name in logged})
        self.gap_trackers = [MemoryGap(f"{name}_memory_gap") for name in names if memory_gap]

    def run_tasks(self, reading, key, training, ends=None):
        """The auxiliary losses of a batch, and the states at the ends of its sequences.

        Args:
            reading: `Reading` of the batch.
            key: `(2,)` int32, of the draws.
            training: bool; gradients are cut short otherwise.
            ends: truncation of the state at the end of each sequence; `False` if not wanted.

        Returns:
            `(outputs, losses)`: `[(batch, units)]` if `ends` are wanted, else `[]`; and
            `Losses` per task.
        """
        tasks, (encoder, embedding, *batch) = self.active_tasks(), reading
        feed, growth = self.feed_probability(), self.placement_growth()
        draws = [
            task.draw(reading.lengths, randomness.fold_in(key, i), feed, training, growth)
            for i, task in enumerate(tasks, start=1)
        ]

        def run(tokens, features, lengths, draws):
            requests = [task.window(d) for task, d in zip(tasks, draws)]
            if ends is not False:
                requests.append((lengths[:, None], ends))
            if not training:
                requests = [request and (request[0], 0) for request in requests]
            records = states_at(encoder, features, requests)
            losses = [
                task(tokens, d, record, encoder=encoder, embedding=embedding, features=features)
                for task, d, record in zip(tasks, draws, records)
            ]
            return [] if ends is False else [records[-1][0][:, 0]], losses

        outputs, losses = map_rows(run, *batch, draws, blocks=self.blocks())
        gaps = [None] * len(tasks)
        if self.memory_gap and not training:
            gaps = [gaps_of(found) for found in self.recall(reading, tasks)]
        return outputs, [Losses(*sums, gap) for sums, gap in zip(losses, gaps)]

    def recall(self, reading, tasks):
        """`Recall` of every one of these losses, at anchors that are the same every time."""
        key, growth = self.key(EVALUATION), self.placement_growth()
        return recall(reading, tasks, key, growth, self.blocks())

    def find_loss(self, name=None, kind=keras.layers.Layer):
        """The auxiliary loss of that name, or the only one, of a kind.

        Raises:
            ValueError: if there is no such loss, or more than one.
        """
        found = [task for task in self.auxiliary if isinstance(task, kind)]
        named = [task for task in found if name in (None, task.name)]
        if len(named) != 1:
            raise ValueError(
                f"`loss` must name one of {[task.name for task in found]}. Received: loss={name!r}"
            )
        return named[0]

    def as_tensors(self, inputs):
        """Inputs as tensors, real numbers in float32."""
        tensors = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        return keras.tree.map_structure(
            lambda t: tf.cast(t, tf.float32) if t.dtype.is_floating else t, tensors
        )

    def reconstruct(self, inputs, anchors, loss=None, length=None):
        """What a decoder reconstructs of the past, from the state at an anchor alone.

        The decoder of a `Reconstruction` starts from the state at the anchor and is fed the one
        true token at which its segment begins, the anchor's own where segments are reversed;
        then it feeds itself what it predicts (of characters the most probable one).

        Args:
            inputs: what the model takes, one batch of arrays.
            anchors: int, or int array `(batch,)` or `(batch, anchors)`: position of the last
                token that the state has read.
            loss: str, name of a `Reconstruction`, by default the only one.
            length: int, tokens to reconstruct; by default the loss's `segment_length`, or
                as many as the earliest anchor has before it.

        Returns:
            array of tokens `(batch, length, features)`, or of characters `(batch, length)`,
            with an axis of anchors after `batch` if there is one in `anchors`: those at
            `anchor - length` ... `anchor - 1` in the order of the sequence; one position later
            each if the loss does not reverse.

        Raises:
            ValueError: if the loss cannot be told, an anchor is outside of its sequence, or has
                fewer than `length` tokens before it.
        """
        task = self.find_loss(loss, Reconstruction)
        return reconstruct(task, self.reading(self.as_tensors(inputs)), anchors, length)

    def track_memory(self, auxiliary):
        """Updates the memory gaps, and returns their results by name."""
        logs = {}
        for tracker, losses in zip(self.gap_trackers, auxiliary):
            tracker.update_state(*losses.gaps)
            logs.update(tracker.result())
        return logs

    def blocks(self):
        """Blocks of rows for `map_rows`: one in a step that XLA compiles as a whole."""
        return 1 if self.jit_compile is True else None

    def feed_probability(self):
        """Epsilon of scheduled sampling now, or None."""
        if self.sampling_decay_steps is None:
            return None
        return teacher_probability(self.training_step, self.sampling_decay_steps)

    def placement_growth(self):
        """How far the curriculum of placements has come, in [0, 1]."""
        steps = self.placement_growth_steps
        return 1.0 if steps is None else 1.0 - teacher_probability(self.training_step, steps)

    def active_tasks(self):
        """The auxiliary losses of this phase: none where their weight is 0."""
        return self.auxiliary if self.pretraining or self.auxiliary_weight else []

    def losses_of(self, x, y, y_pred, sample_weight, auxiliary):
        """The scalar to differentiate, and every logged loss by name (equations 1 and 2)."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        losses = [normalized_auxiliary_loss(*sums[:2]) for sums in auxiliary]
        named = {f"{t.name}_loss": loss for t, loss in zip(self.active_tasks(), losses)}
        named["auxiliary_loss"] = sum(losses)
        if self.pretraining:
            named["loss"] = named["auxiliary_loss"]
            return named["loss"] / replicas, named
        loss, supervised = super().losses_of(x, y, y_pred, sample_weight, auxiliary)
        weighted = self.auxiliary_weight * named["auxiliary_loss"]
        return loss + weighted / replicas, {
            **named, **supervised, "loss": supervised["loss"] + weighted,
        }  # fmt: skip

    def get_metrics_result(self):
        """As `keras.Model.get_metrics_result`; memory gaps are those of an evaluation alone."""
        gaps = {name for tracker in self.gap_trackers for name in (tracker.name, tracker.error)}
        return {k: v for k, v in super().get_metrics_result().items() if k not in gaps}

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`; there is nothing to compare while pretraining."""
        if self.pretraining:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        unused = {"supervised_loss"} if self.pretraining else set()
        if not self.active_tasks():
            unused = set(self.trackers) - {"supervised_loss"}
        return [m for m in super().metrics if m.name not in unused]

    def compile(self, optimizer="rmsprop", loss=None, **arguments):
        """As `keras.Model.compile`."""
        super().compile(optimizer=optimizer, loss=loss, **arguments)
        # Keras's own optimizer: with a scale of the loss around it in half precision.
        self._kept = _Kept(optimizer=self.optimizer, loss=loss, **arguments)

    def pretrain(self, x, *, optimizer=None, **fit_arguments):
        """Phase 1 (section 3.3): trains on the auxiliary losses alone, without labels.

        The classifier does not move, and regularizers rest. Afterwards the model is compiled
        as before, with the optimizer given to `compile` as it was.

        Args:
            x: what `fit` takes; labels are ignored.
            optimizer: Keras optimizer of this phase, by default a new one like that
                given to `compile`. A model that a callback saves meanwhile is compiled for
                this phase: compile it again once it is loaded.
            **fit_arguments: passed on to `fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: without a call of `compile` before, without auxiliary losses, or with
                labels.
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `pretrain`.")
        if not self.auxiliary:
            raise ValueError("`pretrain` needs an auxiliary loss. Received: auxiliary=[]")
        if "y" in fit_arguments:
            raise ValueError("`y` must be left out: `pretrain` takes no labels")
        kept, scope = self._kept.arguments, self.distribute_strategy.scope
        unsupervised = {k: v for k, v in kept.items() if k in ("jit_compile", "run_eagerly",
                        "steps_per_execution", "auto_scale_loss")}  # fmt: skip
        self.pretraining = True
        try:
            self._compile_loss = self._compile_metrics = None  # Keras keeps the last ones
            with scope():  # variables of an optimizer made outside are not those of the replicas
                if optimizer is None:
                    optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
                super().compile(optimizer=optimizer, loss=None, **unsupervised)
            history = self.fit(input_checks.without_labels(x), **fit_arguments)
            warn_if_damped(self.optimizer, self.recurrent_weights())
            return history
        finally:
            self.pretraining = False
            with scope():
                super().compile(**kept)

    def get_config(self):
        return {
            **super().get_config(),
            "auxiliary": [keras.saving.serialize_keras_object(t) for t in self.auxiliary],
            "auxiliary_weight": self.auxiliary_weight,
            "sampling_decay_steps": self.sampling_decay_steps,
            "placement_growth_steps": self.placement_growth_steps,
            "memory_gap": self.memory_gap,
        }
