"""Checks of data on its way into a model: each error names what to change.

A compiled training step cannot raise, so arrays are checked before it, and datasets
by an operation of their pipeline.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from aux_keras.models.building import build_for, build_steps
from aux_keras.models.loss_scale import with_loss_scale
from aux_keras.models.replicas import share_batches, worker_count
from aux_keras.models.token_checks import check_shapes, check_tokens, check_tokens_of_batch
from aux_keras.padding import valid_lengths

NOT_FINITE = "`tokens` must be finite in float32. Received: NaN, infinity or more in the input"
WEIGHT_NOT_FINITE = "`sample_weight` must be finite. Received: NaN or infinity in it"
LABEL = (
    "`y` holds a label outside of 0 ... classes - 1; give the model more classes, or an example "
    "without a label any of these and sample_weight=0. Received: classes="
)
SPARSE = (
    "sparse_categorical_crossentropy", "SparseCategoricalCrossentropy",
    keras.losses.sparse_categorical_crossentropy,
)  # fmt: skip


class Expected(NamedTuple):
    """What a model can be given.

    `tokens_alone`: inputs are tokens, or a dictionary of `"tokens"` and `"lengths"`, and of these
    `vocabulary_size` is the number of characters, None for real tokens, and `features` their
    width, None before the model is built. `classes`: number of integer labels, or None; a list or
    dictionary of these where labels are one; `sparse`: whether the loss takes nothing else.
    `finite`: which part of the inputs must be finite, a function of them, or None; a model may
    clean what its losses do not see.
    """

    tokens_alone: bool = False
    vocabulary_size: int | None = None
    features: int | None = None
    classes: int | list | dict | None = None
    sparse: bool = False
    finite: Callable | None = None


def expected_by(loss, output_shape, output_names=()):
    """What a compiled model expects by its loss: labels below the width of its output."""
    if isinstance(loss, dict):  # by name of output, or by the keys of a dictionary of them
        shapes = output_shape if isinstance(output_shape, list) else [output_shape]
        by_key = len(loss) == len(shapes) and not set(loss) <= set(output_names or ())
        output_shape = dict(zip(sorted(loss) if by_key else output_names or (), shapes))
    classes = classes_by(loss, output_shape)
    return Expected(classes=classes, sparse=any(n is not None for n in tf.nest.flatten(classes)))


def classes_by(loss, output_shape):
    """Numbers of classes, in the structure of the losses; None for what takes no indices of them.

    Args:
        loss: as given to `compile`.
        output_shape: shape, or list of shapes, or dictionary for a dictionary of losses; None where
            it is not known.
    """
    if isinstance(loss, dict):
        return {name: classes_by(each, output_shape.get(name)) for name, each in loss.items()}
    if isinstance(loss, (list, tuple)):
        shapes = output_shape if isinstance(output_shape, list) else [output_shape]
        return [classes_by(*pair) for pair in zip(loss, shapes)]
    sparse = getattr(loss, "fn", loss) in SPARSE and getattr(loss, "ignore_class", None) is None
    known = isinstance(output_shape, tuple) and isinstance(output_shape[-1], int)
    return output_shape[-1] if sparse and known else None


def checked_method(name):
    """A method of `keras.Model` that checks the data among its arguments first."""
    method = getattr(keras.Model, name)

    @functools.wraps(method)
    def call(model, *arguments, **options):
        if options.get("_use_cached_eval_dataset"):  # of `fit`, which has checked it
            return method(model, *arguments, **options)
        return method(model, **checked(name, model, arguments, options))

    return call


def checked(method, model, arguments, options):
    """The arguments of a method of `keras.Model` by name, data checked.

    Arrays are checked now; `tf.data`, `PyDataset` and generators when they are read.
    """
    workers = worker_count(model.distribute_strategy)
    if method.endswith("on_batch") and workers > 1:
        raise ValueError(
            f"`{method}` must have one worker; give several a dataset, with `fit` or `evaluate`. "
            f"Received: {workers} workers"
        )
    given = by_name(method, model, arguments, options)
    if given.get("x") is None:
        raise ValueError("`x` must be inputs: arrays, tensors or a dataset. Received: x=None")
    expected = model.expected_data()
    if method.startswith("predict") and not expected.tokens_alone:
        expected = expected._replace(finite=None)  # no loss reads them
    names = [name for name in ("x", "y", "sample_weight") if name in given]
    values = [given[name] for name in names]
    given.update(zip(names, check_batch(dict(zip(names, values)), expected).values()))
    build_for(model, given.get("x"))
    training = method in ("fit", "train_on_batch")
    if model.compiled_with and not method.startswith("predict"):
        build_steps(model, training, *map(given.get, ("x", "y", "sample_weight")))
    validation = given.get("validation_data")
    if isinstance(validation, (tuple, list)):
        parts = dict(zip(("x", "y", "sample_weight"), validation))
        given["validation_data"] = tuple(check_batch(parts, expected).values())
    elif validation is not None:
        given["validation_data"] = check_batch({"x": validation}, expected)["x"]
    if method == "fit" and not model.pretraining and model.active_losses():
        given["callbacks"] = with_loss_scale(given.get("callbacks"))
    if method in ("fit", "evaluate", "predict"):
        for name in {"x", "validation_data"} & set(given):
            given[name] = share_batches(model.distribute_strategy, given[name])
    return given


def by_name(method, model, arguments, options):
    """The arguments of a method of `keras.Model`, all by name."""
    bound = inspect.signature(getattr(keras.Model, method)).bind(model, *arguments, **options)
    given = {name: value for name, value in bound.arguments.items() if name != "self"}
    return {**given, **given.pop("kwargs", {})}


def check_batch(data, expected):
    """The data `{"x": ..., "y": ..., "sample_weight": ...}`, checked."""
    x = data.get("x")
    if isinstance(x, tf.data.Dataset):
        return {**data, "x": check_dataset(x, expected)}
    if isinstance(x, keras.utils.PyDataset):
        return {**data, "x": CheckedPyDataset(x, expected)}
    if inspect.isgenerator(x):
        return {**data, "x": (check_tuple(batch, expected) for batch in x)}
    check_arrays(x, data.get("y"), data.get("sample_weight"), expected)
    return data


def check_tuple(batch, expected):
    """A batch `x`, `(x, y)` or `(x, y, sample_weight)` of arrays, checked."""
    check_arrays(*keras.utils.unpack_x_y_sample_weight(batch), expected)
    return batch


class CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked when they are read."""

    def __init__(self, dataset, expected):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset = dataset
        self.expected = expected

    def __getitem__(self, index):
        return check_tuple(self.dataset[index], self.expected)

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def check_arrays(x, y, sample_weight, expected):
    """Raises unless arrays, or tensors, are what a model can take."""
    if expected.tokens_alone:
        check_tokens(x, expected)
    for array in tf.nest.flatten(expected.finite(x)) if expected.finite else ():
        if not is_finite(array):
            raise ValueError(NOT_FINITE)
    for weight in tf.nest.flatten(sample_weight):
        if weight is not None and not is_finite(weight):
            raise ValueError(WEIGHT_NOT_FINITE)
    for labels, classes in labels_of(y, expected):
        labels = np.asarray(labels)
        if labels.size and not (labels.min() >= 0 and labels.max() < classes):
            raise ValueError(f"{LABEL}{classes}, labels from {labels.min()} to {labels.max()}")


def is_finite(array):
    """Whether an array has no NaN and nothing that float32 cannot hold."""
    array = np.asarray(array)
    if array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore"):
        return bool(np.all(np.isfinite(array.astype(np.float32, copy=False))))


def check_dataset(dataset, expected):
    """A dataset whose batches are checked when they are read."""
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) else spec
    if any(isinstance(s, tf.RaggedTensorSpec) for s in tf.nest.flatten(spec)):
        raise ValueError(
            "A dataset's inputs must be right-padded, by `padded_batch`, and not ragged. "
            f"Received: {spec}"
        )
    leaves = tf.nest.flatten(dataset.element_spec)  # a None has no shape
    if any(leaf.shape.rank is None for leaf in leaves if hasattr(leaf, "shape")):
        raise ValueError(
            "A dataset's tensors must have ranks that are known: give `from_generator` an "
            f"`output_signature`. Received: {dataset.element_spec}"
        )
    if expected.tokens_alone:
        check_shapes(tf.nest.map_structure(lambda leaf: tuple(leaf.shape), spec), expected)
    return dataset.map(functools.partial(checked_batch, expected), tf.data.AUTOTUNE)


@tf.autograph.experimental.do_not_convert  # takes longer than to trace it
def checked_batch(expected, *batch):
    """A batch of a dataset, as it is; reading it fails unless all conditions hold."""
    checks = []

    def check(condition, *message):
        checks.append(tf.debugging.Assert(tf.reduce_all(condition), list(message)))

    inputs = expected.finite(batch[0]) if expected.finite else ()
    for part, message in zip((inputs, *batch[2:3]), (NOT_FINITE, WEIGHT_NOT_FINITE)):
        for tensor in tf.nest.flatten(part):
            if tensor is not None and tensor.dtype.is_floating:
                tensor = tensor.values if isinstance(tensor, tf.SparseTensor) else tensor
                check(tf.math.is_finite(tf.cast(tensor, tf.float32)), message)
    if expected.tokens_alone:
        check_tokens_of_batch(batch[0], expected, check)
    for labels, classes in labels_of(batch[1], expected) if len(batch) > 1 else ():
        labels = tf.cast(labels, tf.int64)
        inside = tf.logical_and(labels >= 0, labels < classes)
        check(inside, f"{LABEL}{classes}", labels)
    with tf.control_dependencies(checks):
        batch = tf.nest.map_structure(lambda t: t if t is None else tf.identity(t), batch)
    return batch if len(batch) > 1 else batch[0]


def labels_of(y, expected):
    """Pairs of labels in `y`, which are class indices, and the number of their classes."""
    classes = expected.classes
    if isinstance(classes, dict):
        pairs = [(y[name], n) for name, n in classes.items() if isinstance(y, dict) and name in y]
    elif isinstance(classes, list):
        pairs = zip(y if isinstance(y, (list, tuple)) else [y], classes)
    else:
        pairs = [(y, classes)]
    return [(labels, n) for labels, n in pairs if n is not None and are_labels(labels, expected)]


def are_labels(y, expected):
    """Whether `y` holds class indices, and not one-hot rows."""
    if not hasattr(y, "dtype"):
        return False
    kind = np.dtype(tf.as_dtype(y.dtype).as_numpy_dtype).kind
    is_column = len(y.shape) == 1 or tuple(y.shape[1:])[-1:] == (1,)
    return kind in "iuf" if expected.sparse else is_column and kind in "iu"


def split_inputs(inputs):
    """`(tokens, lengths)` of a classifier's inputs; full lengths where none are given."""
    tokens = tf.convert_to_tensor(inputs["tokens"] if isinstance(inputs, dict) else inputs)
    if tokens.dtype.is_integer:  # characters, or real tokens that are whole numbers
        tokens = tf.cast(tokens, tf.int32 if tokens.shape.rank == 2 else tf.float32)
    return tokens, valid_lengths(tokens, inputs["lengths"] if isinstance(inputs, dict) else None)


def batch_size(inputs):
    """The number of rows of a model's inputs, int32 scalar."""
    return tf.shape(tf.nest.flatten(inputs)[0])[0]


def as_tensors(inputs):
    """Inputs as tensors, real numbers in float32."""
    tensors = keras.tree.map_structure(tf.convert_to_tensor, inputs)
    return keras.tree.map_structure(
        lambda t: tf.cast(t, tf.float32) if t.dtype.is_floating else t, tensors
    )


def check_segments(losses, time):
    """Raises if a segment is longer than the sequences, whose length is fixed."""
    for loss in losses:
        if time is not None and loss.shortest > time:
            raise ValueError(
                "`segment_length` must be smaller than the number of time steps: this loss needs "
                f"{loss.shortest} of them. Received: segment_length={loss.segment_length}, "
                f"time steps={time}"
            )


def reason(error):
    """The line of a TensorFlow error that says what is wrong with the data, or all of it."""
    found = re.search(r"(?:\b\w+Error: |assertion failed: )(.*)", error.message)
    if found:
        return found[1]
    lines = [line.strip() for line in error.message.splitlines()]
    frames = ("Graph execution error:", "Detected at node", "<stack traces")
    lines = [line for line in lines if line and not line.startswith(frames)]
    return lines[0] if lines else error.message
