"""Checks of data on its way into a model: each error names what to change.

A compiled training step cannot raise, so arrays are checked before it and datasets
by an operation of their pipeline.
"""

import re

import keras
import numpy as np
import tensorflow as tf

from aux_keras.layers.padding import valid_lengths

NOT_FINITE = "`tokens` must be finite in float32. Received: NaN, infinity or more in the input"
NO_TOKEN = (
    "`lengths` must be from 1 to the number of time steps, so that every sequence has a valid token"
)
LABEL = (
    "`y` holds a label outside of 0 ... classes - 1; give the model more classes, or an example "
    "without a label any of these and sample_weight=0. Received: classes="
)
CHARACTER = (
    "`tokens` holds something else than integers from 0 to vocabulary - 1. Received: vocabulary="
)


class CheckedModel(keras.Model):
    """A model whose `fit`, `evaluate` and `predict` check arrays and `tf.data` on the way in.

    Subclasses set `classes`; `vocabulary`, the number of different characters or None; and once
    built `features`, the width of real tokens.
    """

    def fit(self, x=None, y=None, *arguments, **options):
        """As `keras.Model.fit`; arrays and `tf.data` are checked on the way in.

        Raises:
            ValueError, tf.errors.InvalidArgumentError: on tokens of the wrong rank, NaN,
                a length without a valid token, or a label of no class.
        """
        x, y = checked(x, y, self)
        if "validation_data" in options:
            data = checked_pair(options["validation_data"], self)
            options["validation_data"] = data
        return super().fit(x, y, *arguments, **options)

    def evaluate(self, x=None, y=None, *arguments, **options):
        """As `keras.Model.evaluate`, with the checks of `fit`."""
        if not options.get("_use_cached_eval_dataset"):
            x, y = checked(x, y, self)
        return super().evaluate(x, y, *arguments, **options)

    def predict(self, x, *arguments, **options):
        """As `keras.Model.predict`, with the checks of `fit`."""
        x, _ = checked(x, None, self)
        return super().predict(x, *arguments, **options)


def split_inputs(inputs):
    """`(tokens, lengths)` of a model's inputs; full lengths where none are given."""
    tokens = tf.convert_to_tensor(inputs["tokens"] if isinstance(inputs, dict) else inputs)
    if tokens.dtype.is_integer:  # characters, or real tokens that are whole numbers
        tokens = tf.cast(tokens, tf.int32 if tokens.shape.rank == 2 else tf.float32)
    return tokens, valid_lengths(tokens, inputs["lengths"] if isinstance(inputs, dict) else None)


def check_segments(tasks, time):
    """Raises if a segment is longer than the sequences, whose length is fixed."""
    for task in tasks:
        if time is not None and task.shortest > time:
            raise ValueError(
                "`segment_length` must be smaller than the number of time steps: this loss needs "
                f"{task.shortest} of them. Received: segment_length={task.segment_length}, "
                f"time steps={time}"
            )


def check_shapes(shapes, vocabulary):
    """Raises unless shapes are those of tokens, or of the dictionary."""
    if isinstance(shapes, dict) and set(shapes) != {"tokens", "lengths"}:
        raise ValueError(
            f"`inputs` must have the keys 'tokens' and 'lengths'. Received: {sorted(shapes)}"
        )
    tokens = shapes["tokens"] if isinstance(shapes, dict) else shapes
    if isinstance(shapes, dict) and len(shapes["lengths"]) != 1:
        raise ValueError(
            f"`lengths` must be (batch,). Received: shape={tuple(shapes['lengths'])}; a dataset "
            "must be batched"
        )
    if vocabulary is not None and len(tokens) != 2:
        raise ValueError(
            f"`tokens` must be (batch, time) integers below vocabulary={vocabulary}; a dataset "
            "must be batched. "
            f"Received: shape={tuple(tokens)}"
        )
    if vocabulary is None and len(tokens) != 3:
        raise ValueError(
            "`tokens` must be (batch, time, features); batch a dataset, give scalars a last axis "
            "of 1, or characters an embedding with a `vocabulary`. "
            f"Received: shape={tuple(tokens)}"
        )


def without_labels(x):
    """A dataset's inputs alone; anything else as it is."""
    if isinstance(x, tf.data.Dataset) and isinstance(x.element_spec, tuple):
        return x.map(lambda tokens, *_: tokens)
    return x


def checked(x, y, model):
    """`(x, y)`, arrays checked now and datasets when they are read."""
    if isinstance(x, (list, tuple, tf.RaggedTensor)):
        raise ValueError(
            "`inputs` must be tokens padded behind, or a dictionary of 'tokens' and 'lengths'. "
            f"Received: {type(x).__name__}"
        )
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec[0] if isinstance(x.element_spec, tuple) else x.element_spec
        shapes = [s.shape for s in tf.nest.flatten(spec)]
        if all(shape.rank is not None for shape in shapes):
            check_tokens(tf.nest.pack_sequence_as(spec, [tuple(s) for s in shapes]), model)
        return x.map(lambda *batch: _checked_batch(batch, model), tf.data.AUTOTUNE), y
    if isinstance(x, (np.ndarray, tf.Tensor, dict)):
        check_tokens(
            {k: np.shape(v) for k, v in x.items()} if isinstance(x, dict) else np.shape(x), model
        )
        tokens = np.asarray(x["tokens"] if isinstance(x, dict) else x)
        with np.errstate(over="ignore"):
            finite = np.all(np.isfinite(tokens.astype(np.float32, copy=False)))
        if not finite:
            raise ValueError(NOT_FINITE)
        if model.vocabulary is not None and tokens.size:
            whole = np.issubdtype(tokens.dtype, np.integer)
            if not whole or tokens.min() < 0 or tokens.max() >= model.vocabulary:
                raise ValueError(
                    f"{CHARACTER}{model.vocabulary}, {tokens.dtype} from {tokens.min()} to "
                    f"{tokens.max()}"
                )
        if isinstance(x, dict):
            lengths = np.asarray(x["lengths"])
            if len(lengths) and not (lengths.min() >= 1 and lengths.max() <= tokens.shape[1]):
                raise ValueError(f"{NO_TOKEN}. Received: {lengths.min()} to {lengths.max()}")
    if isinstance(y, (np.ndarray, tf.Tensor)) and _are_labels(y):
        labels = np.asarray(y)
        if labels.size and not (labels.min() >= 0 and labels.max() < model.classes):
            raise ValueError(
                f"{LABEL}{model.classes}, labels from {labels.min()} to {labels.max()}"
            )
    return x, y


def check_tokens(shapes, model):
    """Raises unless shapes are those of inputs that the model can take."""
    check_shapes(shapes, model.vocabulary)
    tokens = shapes["tokens"] if isinstance(shapes, dict) else shapes
    if model.built and model.vocabulary is None and tokens[-1] not in (None, model.features):
        raise ValueError(
            f"`tokens` must have the {model.features} features that the model was built for. "
            f"Received: shape={tokens}"
        )


def checked_pair(data, model):
    """Validation data, checked: a dataset or a tuple `(x, y, ...)`."""
    if isinstance(data, (tuple, list)):
        return (*checked(data[0], data[1] if len(data) > 1 else None, model), *data[2:])
    return data if data is None else checked(data, None, model)[0]


def _are_labels(y):
    """Whether `y` holds class indices, and not one-hot rows."""
    return np.issubdtype(tf.as_dtype(y.dtype).as_numpy_dtype, np.integer) and (
        len(y.shape) == 1 or y.shape[-1] == 1
    )


def _checked_batch(batch, model):
    x, checks = batch[0], []
    tokens = x["tokens"] if isinstance(x, dict) else x
    if model.vocabulary is not None and tokens.dtype.is_floating:
        raise ValueError(f"{CHARACTER}{model.vocabulary}, {tokens.dtype.name}")

    def check(condition, *message):
        checks.append(tf.debugging.Assert(tf.reduce_all(condition), list(message)))

    if tokens.dtype.is_floating:
        check(tf.math.is_finite(tf.cast(tokens, tf.float32)), NOT_FINITE)
    elif model.vocabulary is not None:
        ids = tf.cast(tokens, tf.int64)
        inside = tf.logical_and(ids >= 0, ids < model.vocabulary)
        check(inside, f"{CHARACTER}{model.vocabulary}", tf.reduce_min(ids), tf.reduce_max(ids))
    if isinstance(x, dict):
        lengths = tf.cast(x["lengths"], tf.int32)
        inside = tf.logical_and(lengths >= 1, lengths <= tf.shape(tokens)[1])
        check(inside, NO_TOKEN, lengths)
    if len(batch) > 1 and _are_labels(batch[1]):
        labels = tf.cast(batch[1], tf.int64)
        inside = tf.logical_and(labels >= 0, labels < model.classes)
        check(inside, f"{LABEL}{model.classes}", labels)
    with tf.control_dependencies(checks):
        batch = tf.nest.map_structure(tf.identity, batch)
    return batch if len(batch) > 1 else batch[0]


def reason(error):
    """The line of a TensorFlow error that says what is wrong with the data, or all of it."""
    found = re.search(r"(?:\b\w+Error: |assertion failed: )(.*)", error.message)
    if found:
        return found[1]
    lines = [line.strip() for line in error.message.splitlines()]
    frames = ("Graph execution error:", "Detected at node", "<stack traces")
    lines = [line for line in lines if line and not line.startswith(frames)]
    return lines[0] if lines else error.message
