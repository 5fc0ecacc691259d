"""Training with auxiliary losses: their draws, windows and sums, and the phase before labels."""

import math
import numbers

import keras

from aux_keras.layers import randomness
from aux_keras.layers.auxiliary_loss import normalized_auxiliary_loss
from aux_keras.layers.recurrence import map_rows
from aux_keras.layers.scheduled_sampling import teacher_probability
from aux_keras.layers.truncated_rnn import states_at
from aux_keras.models import input_checks
from aux_keras.models.clocked_model import ClockedModel, check_integer


class _Kept:
    """Holds what Keras must not track: the arguments of `compile`."""

    def __init__(self, **arguments):
        self.arguments = arguments


class AuxiliaryTraining(ClockedModel):
    """What a model with auxiliary losses has: `pretrain`, and the losses in its training step.

    Args:
        auxiliary: list of auxiliary losses with distinct names.
        auxiliary_weight: float; with 0 the auxiliary losses are used by `pretrain` alone.
        sampling_decay_steps: int, training steps in which the decoders go from true
            tokens to their own outputs; None to feed true tokens always.

    Raises:
        ValueError: on what is no list of new losses, names that are not distinct, or fewer than
            one step.
    """

    def __init__(self, *arguments, auxiliary, auxiliary_weight, sampling_decay_steps, **kwargs):
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
        if not isinstance(auxiliary_weight, numbers.Real) or not 0 <= auxiliary_weight < math.inf:
            raise ValueError(
                f"`auxiliary_weight` must be a number from 0 on. Received: {auxiliary_weight=}"
            )
        self.auxiliary = list(auxiliary)
        self.auxiliary_weight = auxiliary_weight
        self.sampling_decay_steps = sampling_decay_steps
        self.pretraining = False
        logged = [f"{name}_loss" for name in names] if len(names) > 1 else []
        logged += ["auxiliary_loss"] if names else []
        self.trackers.update({name: keras.metrics.Mean(name=name) for name in logged})

    def run_tasks(self, encoder, embedding, tokens, features, lengths, key, training, ends=None):
        """The auxiliary losses of a batch, and the states at the ends of its sequences.

        Args:
            encoder: the main RNN as a recurrence, which reads `features`.
            embedding: `TokenEmbedding` through which the decoders read tokens, or None.
            tokens: `(batch, time, features)`, or characters `(batch, time)`.
            features: `(batch, time, width)`, what the main RNN reads; `tokens` if it reads these.
            lengths: `(batch,)` int32, valid tokens.
            key: `(2,)` int32, of the draws.
            training: bool; gradients are cut short otherwise.
            ends: truncation of the state at the end of each sequence; `False` if not wanted.

        Returns:
            `(outputs, losses)`: `[(batch, units)]` if `ends` are wanted, else `[]`; and per task
            `(L_i, l_i)`, each `(batch, anchors)`.
        """
        tasks = self.active_tasks()
        draws = [
            task.draw(lengths, randomness.fold_in(key, i), self.feed_probability(), training)
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

        blocks = 1 if self.jit_compile is True else None
        return map_rows(run, tokens, features, lengths, draws, blocks=blocks)

    def feed_probability(self):
        """Epsilon of scheduled sampling now, or None."""
        if self.sampling_decay_steps is None:
            return None
        return teacher_probability(self.training_step, self.sampling_decay_steps)

    def active_tasks(self):
        """The auxiliary losses of this phase: none where their weight is 0."""
        return self.auxiliary if self.pretraining or self.auxiliary_weight else []

    def losses_of(self, x, y, y_pred, sample_weight, auxiliary):
        """The scalar to differentiate, and every logged loss by name (equations 1 and 2)."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        losses = [normalized_auxiliary_loss(*sums) for sums in auxiliary]
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
            ValueError: without a call of `compile` before, or without auxiliary losses.
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `pretrain`.")
        if not self.auxiliary:
            raise ValueError("`pretrain` needs an auxiliary loss. Received: auxiliary=[]")
        kept = self._kept.arguments
        if optimizer is None:
            optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
        unsupervised = {k: v for k, v in kept.items() if k in ("jit_compile", "run_eagerly",
                        "steps_per_execution", "auto_scale_loss")}  # fmt: skip
        self.pretraining = True
        try:
            self._compile_loss = self._compile_metrics = None  # Keras keeps the last ones
            super().compile(optimizer=optimizer, loss=None, **unsupervised)
            return self.fit(input_checks.without_labels(x), **fit_arguments)
        finally:
            self.pretraining = False
            super().compile(**kept)

    def get_config(self):
        return {
            **super().get_config(),
            "auxiliary": [keras.saving.serialize_keras_object(t) for t in self.auxiliary],
            "auxiliary_weight": self.auxiliary_weight,
            "sampling_decay_steps": self.sampling_decay_steps,
        }
