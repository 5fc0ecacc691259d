"""The one model with auxiliary losses: around any Keras model with a recurrent layer in it."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import check_choice, check_integer, revive
from aux_keras.losses.objective import normalized_auxiliary_loss
from aux_keras.models import building, input_checks, logs, loss_runs, observation
from aux_keras.models.joint_weight import JointWeight
from aux_keras.models.memory_gap import logged_gaps, recall
from aux_keras.models.pretraining import pretrain
from aux_keras.models.reconstruct import Reconstructor
from aux_keras.models.replicas import apply_gradients, check_compiled_for, compute_loss

TRAINING, EVALUATION = 0, 1  # first component of a key: draws of the two never coincide


@keras.saving.register_keras_serializable("aux_keras")
class AuxiliaryModel(keras.Model):
    """Trains a Keras model with auxiliary losses at one of its recurrent layers.

    Training minimizes `supervised + auxiliary_weight * auxiliary` (section 3.3). The model is
    not rewritten: what it returns, its dropout and its weights stay as they are, and it can be
    used alone at any time. The sequence that goes into the recurrent layer is observed, and the
    auxiliary losses reconstruct or predict the model's input tokens from the layer's state at
    random anchors. What the gradient passes through, the losses say.

    If the layer is a `TruncatedRNN`, one forward run serves its output and all anchors. Any other
    Keras RNN layer reads the sequence a second time, without dropout inside its cell.

    What the layer reads must have a time step for every token, and should not see the future.
    Our draws are functions of (`seed`, `training_step`), also on several replicas.

    Args:
        model: a functional, sequential or subclassed `keras.Model`. Its inputs are
            tokens `(batch, time, features)`, or characters `(batch, time)`, which then go
            through a `keras.layers.Embedding` or a `TruncatedRNN`'s `TokenEmbedding` that the
            decoders share. Masked time steps are left out, wherever they are.
        auxiliary: list of losses with distinct names; with none no recurrent layer is needed.
        rnn: name of the recurrent layer, by default the only one; of a `Bidirectional` forward.
        embedding: name of the characters' `keras.layers.Embedding`, by default the only one.
        tokens: name or position of the tokens, where the model has several inputs.
        target: what is reconstructed or predicted: `"inputs"`, those tokens in their own units, or
            `"features"`, what the recurrent layer reads (in training after dropout), as a
            constant. A loss in raw units can be so large that nothing else is learnt; then
            `fit` warns.
        auxiliary_weight: float, which callbacks may change; 0: they are used in `pretrain` alone.
        sampling_decay_steps: int, training steps in which the decoders go from true
            tokens to their own outputs; None to feed true tokens always.
        placement_growth_steps: int, training steps in which the placement `"curriculum"`
            goes from `"immediate"` to `"past_or_spill"`.
        memory_gap: bool, whether evaluations log the memory gap of every loss.
        seed: int.
        **kwargs: `name` and `dtype`, see `keras.Model`.

    Call arguments, Returns: as `model`.

    Raises:
        ValueError: if the layers or the tokens cannot be found, or do not fit together; on what
            is no list of new losses, or a curriculum without its number of steps.

    Example:
        >>> inputs = keras.Input((64, 3))
        >>> h = TruncatedRNN(keras.layers.LSTM(32), truncation=10)(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(h))
        >>> wrapped = AuxiliaryModel(model, [Reconstruction(segment_length=20)])
        >>> wrapped.compile("adam", "sparse_categorical_crossentropy")
        >>> sorted(wrapped.train_on_batch(np.ones((2, 64, 3)), np.zeros(2), return_dict=True))
        ['auxiliary_loss', 'loss', 'supervised_loss']

    Reference: Trinh et al. 2018, section 3.
    """

    def __init__(
        self, model: keras.Model, auxiliary: Sequence = (), rnn: str | None = None,
        embedding: str | None = None, tokens: str | int | None = None, target: str = "inputs",
        auxiliary_weight: float = 1.0, sampling_decay_steps: int | None = None,
        placement_growth_steps: int | None = None, memory_gap: bool = False, seed: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        building.check_network(model)
        loss_runs.check_losses(auxiliary)
        loss_runs.check_schedules(auxiliary, sampling_decay_steps, placement_growth_steps)
        self.model = model
        self.auxiliary = list(auxiliary)
        self.rnn = rnn
        self.embedding_name = embedding
        self.tokens = tokens
        self.target = check_choice("target", target, ("inputs", "features"))
        self.joint_weight = JointWeight(auxiliary_weight)
        self.sampling_decay_steps = sampling_decay_steps
        self.placement_growth_steps = placement_growth_steps
        self.memory_gap = memory_gap
        self.seed = check_integer("seed", seed, 0)
        self.pretraining, self.compiled_with = False, None
        self.training_step = self.add_weight(
            name="training_step", shape=(), dtype="int64", initializer="zeros", trainable=False,
            aggregation="only_first_replica",
        )  # fmt: skip
        self.trackers, self.gap_trackers = logs.trackers([a.name for a in auxiliary], memory_gap)
        loss_runs.check_outputs(auxiliary, getattr(model, "output_names", None) or ())
        if self.auxiliary:
            observation.recurrent_layer(model, rnn)  # raises where there is none
        if model.built and (shape := getattr(model, "input_shape", None)) is not None:
            self.build(shape)
        for loss in self.auxiliary:  # last: those of a model that could not be made are still free
            loss.taken = True

    @property
    def auxiliary_weight(self):
        """The weight of the auxiliary losses."""
        return float(self.joint_weight.variable.numpy())

    @auxiliary_weight.setter
    def auxiliary_weight(self, value):
        if self.joint_weight.assign(value):  # the compiled steps are those without the losses
            for step in ("train", "test"):
                if getattr(self, f"{step}_function") is not None:
                    getattr(self, f"make_{step}_function")(force=True)

    @property
    def layer(self):
        """The recurrent layer that the auxiliary losses train."""
        return observation.recurrent_layer(self.model, self.rnn)

    @property
    def output_names(self):
        """Names of the model's outputs, for losses by name."""
        return self.model.output_names

    def token_embedding(self, characters=True):
        """The `TokenEmbedding` through which the decoders read tokens, or None."""
        name = self.embedding_name
        return observation.token_embedding(self.model, self.layer, name, characters)

    def build(self, inputs_shape):
        inputs_shape = observation.as_given(self.model, inputs_shape)
        symbolic = keras.tree.map_shape_structure(keras.KerasTensor, inputs_shape)
        building.build_network(self.model, symbolic)
        if self.auxiliary:
            loss_runs.build_losses(self, observation.tokens_shape(self, inputs_shape))

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        return self.model(inputs, training=training)

    def key(self, *components):
        """The random key of the given components, for all replicas."""
        return randomness.fold_in(self.seed, *components, 0)

    def forward(self, inputs, key, training):
        """One pass for all losses, with draws from `key`, `(2,)` int32.

        Returns:
            `(y_pred or None, list of Losses, Reading or None)`.
        """
        building.ensure_built(self, inputs, training)
        with randomness.KeyScope(key, input_checks.batch_size(inputs)):
            if not self.active_losses():
                return self.model(inputs, training=training), [], None

            def run(reading, ends, first=None):
                record, found = self.run_losses(reading, key, training, ends, first)
                return record, (found, reading)

            trains = training and not self.pretraining  # else its output needs no gradient
            ends = getattr(self.layer, "truncation", None) if trains else 0
            y_pred, found = observation.observe(self, inputs, training, run, ends)
        return None if self.pretraining else y_pred, *found

    def reading(self, inputs):
        """What the auxiliary losses see of a batch, see `Reading`."""
        building.ensure_built(self, inputs)
        return observation.observe(self, inputs, False, lambda r, *_: ([], r), 0)[1]

    def run_losses(self, reading, key, training, ends=False, first=None):
        """`Losses` per auxiliary loss, and the record at the ends, see `loss_runs.run_losses`."""
        losses, (feed, growth) = self.active_losses(), loss_runs.schedules(self)
        return loss_runs.run_losses(
            losses, reading, key, feed, growth, training, ends, first, loss_runs.row_blocks(self)
        )

    def recall(self, reading, losses):
        """`Recall` of every one of these losses, at anchors that are the same every time."""
        key, (_, growth) = self.key(EVALUATION), loss_runs.schedules(self)
        return recall(reading, losses, key, growth, loss_runs.row_blocks(self))

    def tokens_of(self, inputs):
        """The tokens, or their shape, among the inputs, or their shapes."""
        return observation.pick(self.model, inputs, self.tokens)

    def active_losses(self):
        """The auxiliary losses of this phase: none in training while their weight was always 0."""
        return self.auxiliary if self.pretraining or self.joint_weight.trains else []

    @property
    def losses(self):
        """As `keras.Model.losses`; the regularizers of losses that are not active rest."""
        if self.active_losses():
            return super().losses
        return self._get_own_losses() + self.model.losses

    def losses_of(self, x, y, y_pred, sample_weight, auxiliary):
        """The scalar to differentiate, and every logged loss by name (equations 1 and 2)."""
        # First: while replicas wait for each other, one clears what layers have added for another.
        supervised = None if self.pretraining else compute_loss(self, x, y, y_pred, sample_weight)
        replicas = self.distribute_strategy.num_replicas_in_sync
        # Replicas log means over their rows, and differentiate their share of the global batch.
        share = randomness.share_of_batch(input_checks.batch_size(x))
        losses = [normalized_auxiliary_loss(*sums) for sums in auxiliary]
        losses = [tf.math.divide_no_nan(loss, replicas * share) for loss in losses]
        named = {f"{a.name}_loss": loss for a, loss in zip(self.active_losses(), losses)}
        named["auxiliary_loss"] = named["loss"] = sum(losses)
        if not self.pretraining:
            named["supervised_loss"] = supervised(share)
            named["loss"] = named["supervised_loss"] + self.joint_weight.variable * named["loss"]
        return share * named["loss"], named

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred, auxiliary, _ = self.forward(x, self.key(TRAINING, self.training_step), True)
            loss, named = self.losses_of(x, y, y_pred, sample_weight, auxiliary)
            loss = self.optimizer.scale_loss(loss)
        apply_gradients(self, tape.gradient(loss, self.trainable_weights))
        with tf.control_dependencies([loss]):  # a step that finds no data left must not count
            self.training_step.assign_add(1)
        return logs.track(self, (x, y, sample_weight), y_pred, named)

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred, auxiliary, reading = self.forward(x, self.key(EVALUATION), False)
        _, named = self.losses_of(x, y, y_pred, sample_weight, auxiliary)
        gaps = logged_gaps(self, reading, self.key(EVALUATION))
        return logs.track(self, (x, y, sample_weight), y_pred, named, gaps)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`; there is nothing to compare while pretraining."""
        if self.pretraining:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self):
        """As `keras.Model.get_metrics_result`; memory gaps belong to evaluations."""
        gaps = {name for tracker in self.gap_trackers for name in (tracker.name, tracker.error)}
        return {k: v for k, v in super().get_metrics_result().items() if k not in gaps}

    @property
    def metrics(self):
        unused = {"supervised_loss"} if self.pretraining else set()
        if not self.active_losses():
            unused = set(self.trackers) - {"supervised_loss"}
        return [m for m in super().metrics if m.name not in unused]

    def compile(self, optimizer="rmsprop", loss=None, *more, **arguments):
        """As `keras.Model.compile`."""
        given = input_checks.by_name("compile", self, (optimizer, loss, *more), arguments)
        check_compiled_for(self.distribute_strategy, given)
        loss_runs.check_outputs(self.auxiliary, list(loss) if isinstance(loss, dict) else ())
        super().compile(**given)
        # The optimizer that Keras may have put a scale around; in a function it is not tracked.
        compiled = {**given, "optimizer": self.optimizer}
        self.compiled_with = lambda: compiled
        self.total_results = logs.total_results(self)

    def compile_from_config(self, config):
        if not type(self).compile.__module__.startswith("aux_keras."):
            return super().compile_from_config(config)  # warns that it does nothing
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def expected_data(self):
        """What data is checked against, see `input_checks.Expected`."""
        loss = self.compiled_with()["loss"] if self.compiled_with else None
        outputs = (getattr(self.model, name, None) for name in ("output_shape", "output_names"))
        read = self.tokens_of if self.active_losses() and self.target == "inputs" else None
        return input_checks.expected_by(loss, *outputs)._replace(finite=read)

    fit = input_checks.checked_method("fit")
    evaluate = input_checks.checked_method("evaluate")
    predict = input_checks.checked_method("predict")
    train_on_batch = input_checks.checked_method("train_on_batch")
    test_on_batch = input_checks.checked_method("test_on_batch")
    predict_on_batch = input_checks.checked_method("predict_on_batch")
    _maybe_symbolic_build = building.symbolic_build
    _get_metrics_result_or_logs = logs.of_all_replicas

    def pretrain(
        self, x: Any, y: None = None, *, optimizer: keras.optimizers.Optimizer | None = None,
        **fit_arguments: Any,
    ) -> keras.callbacks.History:  # fmt: skip
        """Phase 1 (section 3.3): trains on the auxiliary losses alone, without labels.

        Weights that they do not read stay, and regularizers rest; moving averages of layers that
        run before the recurrent one move. Afterwards the model is compiled as before.

        Args:
            x: what `fit` takes; labels in a dataset are ignored.
            y: must be left out.
            optimizer: of this phase, by default a new one like that of `compile`. Compile a
                model again that a callback has saved meanwhile.
            **fit_arguments: passed on to `fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: without `compile` before, without auxiliary losses, or with labels.
        """
        return pretrain(self, AuxiliaryModel.compile, x, y, optimizer, fit_arguments)

    def reconstruct(
        self, inputs: Any, anchors: Any, loss: str | None = None, length: int | None = None
    ) -> np.ndarray:
        """What a decoder reconstructs of the past from the state at an anchor alone.

        Args:
            inputs: what the model takes, one batch of arrays.
            anchors, length: positions, and tokens before them, see `Reconstructor`.
            loss: str, name of a `Reconstruction`, by default the only one.

        Returns:
            array of tokens, see there.
        """
        return Reconstructor(self, loss)(inputs, anchors, length)[0]

    def export(self, *arguments, **options):
        """As `keras.Model.export`: the model, without the auxiliary losses."""
        return self.model.export(*arguments, **options)

    def get_config(self) -> dict[str, Any]:
        names = ("rnn", "tokens", "target", "auxiliary_weight", "sampling_decay_steps",
                 "placement_growth_steps", "memory_gap", "seed")  # fmt: skip
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "model": keras.saving.serialize_keras_object(self.model),
            "auxiliary": [keras.saving.serialize_keras_object(a) for a in self.auxiliary],
            "embedding": self.embedding_name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "model", "auxiliary"))
