"""The functions that a SavedModel offers: what goes in, what comes out, what is refused.

`serve`          sequences, valid lengths -> probabilities, labels
`serve_raw`      contents of image files, or texts -> probabilities, labels, names
`encode`         the same -> the sequences and lengths that `serve` takes
`stream`         a chunk of sequences, state -> probabilities so far, labels, new state
`initial_state`  batch size -> state before the first chunk
`label_names`    nothing -> the names of the classes

`stream` and `initial_state` are there for recurrent models, `serve_raw` and `encode` for
models whose `preprocessing` says how raw data is read. In all of them the sizes of batch
and time are free.
"""

import keras
import tensorflow as tf

from aux_keras.models import input_checks, token_checks
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier
from aux_keras.models.sequence_classifier import SequenceClassifier
from aux_keras.scan import recurrence
from aux_keras.serving import raw_inputs


class Endpoints:
    """The inference of a built classifier as functions of tensors.

    Args:
        model: a built `AuxiliaryClassifier` or `TransformerClassifier`.
        checks: bool, whether the functions check what they are given.

    Raises:
        ValueError: if the model is not built, or none of ours, or its `preprocessing` does not
            fit it.
    """

    def __init__(self, model, checks=True):
        if not isinstance(model, SequenceClassifier):
            raise ValueError(
                "`model` must be a built AuxiliaryClassifier or TransformerClassifier; other "
                "Keras models, also one that AuxiliaryModel has trained, have an `export` of their "
                f"own. Received: model={model!r}"
            )
        if model.model.activation is not keras.activations.softmax:
            raise ValueError(
                "`model` must have activation='softmax', whose labels these functions return; any "
                "other has `export`, as every Keras model. Received: activation="
                f"{keras.activations.serialize(model.model.activation)!r}"
            )
        if not model.built:
            raise ValueError(f"`model` must be built: fit it, or call `build`. Received: {model!r}")
        self.model, self.checks = model, checks
        self.recurrent = isinstance(model, AuxiliaryClassifier)
        self.raw = raw_inputs.of(model.preprocessing)
        width = model.vocabulary_size or model.features
        if self.raw is not None and self.raw.width != width:
            raise ValueError(
                "`preprocessing` must make tokens as the model reads them. Received: "
                f"{self.raw.width} features or characters for a model of {width}"
            )
        names = (model.preprocessing or {}).get("label_names") or range(model.classes)
        self.names = [str(name) for name in names]

    def functions(self):
        """`(function, specifications of its arguments)` by name."""
        tokens = self.model.tokens_spec()
        found = {
            "serve": (self.serve, [tokens, tf.TensorSpec((None,), tf.int32, "lengths")]),
            "label_names": (self.label_names, []),
        }
        if self.recurrent:
            width = sum(self.state_widths())
            state = tf.TensorSpec((None, width), tf.float32, "state")
            found["stream"] = (self.stream, [tokens, state])
            batch_size = tf.TensorSpec((), tf.int32, "batch_size")
            found["initial_state"] = (self.initial_state, [batch_size])
        if self.raw is not None:
            raw = [tf.TensorSpec((None,), tf.string, self.raw.name)]
            found["serve_raw"] = (self.serve_raw, raw)
            found["encode"] = (self.encode, raw)
        return found

    def serve(self, tokens, lengths):
        """Whole sequences, padded behind."""
        tokens = self.checked(tokens)
        lengths = tf.ensure_shape(lengths, (None,), name="lengths")
        lengths = self.check(
            lengths, tf.shape(lengths)[0] == tf.shape(tokens)[0],
            "`lengths` must have an entry for every sequence. Received: entries",
            tf.shape(lengths)[0], "for sequences", tf.shape(tokens)[0],
        )  # fmt: skip
        inside = tf.logical_and(lengths >= 1, lengths <= tf.shape(tokens)[1])
        lengths = self.check(lengths, inside, f"{token_checks.NO_TOKEN}. Received:", lengths)
        if not self.recurrent:
            return self.answer(self.model({"tokens": tokens, "lengths": lengths}))
        first = self.recurrence().first(tf.shape(tokens)[0])
        return self.answer(self.probabilities(self.read(tokens, first, lengths)))

    def stream(self, tokens, state):
        """The next chunk of sequences, all of it valid."""
        tokens, widths = self.checked(tokens), self.state_widths()
        state = tf.ensure_shape(state, (None, sum(widths)), name="state")
        state = self.check(
            state, tf.shape(state)[0] == tf.shape(tokens)[0],
            "`state` must have a row for every sequence. Received: rows", tf.shape(state)[0],
            "for sequences", tf.shape(tokens)[0],
        )  # fmt: skip
        finite = tf.math.is_finite(state)
        state = self.check(state, finite, "`state` must be finite. Received: NaN or infinity in it")
        parts = tf.split(state, widths, axis=-1)
        record = tuple(tf.cast(part, self.model.compute_dtype) for part in parts)
        record = self.read(tokens, record, tf.fill([tf.shape(tokens)[0]], tf.shape(tokens)[1]))
        return {**self.answer(self.probabilities(record)), "state": packed(record)}

    def initial_state(self, batch_size):
        """The state before the first token."""
        batch_size = tf.ensure_shape(batch_size, (), name="batch_size")
        batch_size = self.check(
            batch_size, batch_size >= 0, "`batch_size` must not be negative. Received:", batch_size
        )
        return {"state": packed(self.recurrence().first(batch_size))}

    def serve_raw(self, raw):
        """Images or texts as they are in files."""
        answer = self.serve(*self.raw.prepare(tf.ensure_shape(raw, (None,), name=self.raw.name)))
        return {**answer, "names": tf.gather(tf.constant(self.names), answer["labels"])}

    def encode(self, raw):
        """Images or texts as tokens; texts are neither stripped nor cut."""
        tokens, lengths = self.raw.encode(tf.ensure_shape(raw, (None,), name=self.raw.name))
        return {"tokens": tokens, "lengths": lengths}

    def label_names(self):
        """The names of the classes, in the order of their probabilities."""
        return {"names": tf.constant(self.names)}

    def recurrence(self):
        """The main RNN as it is now."""
        return self.model.encoder.recurrence()

    def state_widths(self):
        """The widths of what a state holds side by side."""
        return [part.shape[-1] for part in self.recurrence().first(1)]

    def read(self, tokens, record, lengths):
        return recurrence.read(self.recurrence(), tokens, record, lengths)

    def probabilities(self, record):
        return self.model.classify(record[0], training=False)

    @staticmethod
    def answer(probabilities):
        labels = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {"probabilities": probabilities, "labels": labels}

    def checked(self, tokens):
        """Tokens of the right shape, or the call fails."""
        # A signature lets any shape in; said here, before another operation stumbles over it.
        tokens = tf.ensure_shape(tokens, self.model.tokens_spec().shape, name="tokens")
        vocabulary_size = self.model.vocabulary_size
        if vocabulary_size is None:
            return self.check(tokens, tf.math.is_finite(tokens), input_checks.NOT_FINITE)
        inside = tf.logical_and(tokens >= 0, tokens < vocabulary_size)
        return self.check(tokens, inside, f"{token_checks.CHARACTER}{vocabulary_size}", tokens)

    def check(self, tensor, condition, *message):
        """`tensor`; whatever is made of it fails with the message unless all conditions hold."""
        if not self.checks:
            return tensor
        found = tf.debugging.Assert(tf.reduce_all(condition), list(message), summarize=8)
        with tf.control_dependencies([found]):
            return tf.identity(tensor)


def packed(record):
    """A record as one tensor `(batch, sum of widths)`, float32."""
    return tf.concat([tf.cast(part, tf.float32) for part in record], axis=-1)
