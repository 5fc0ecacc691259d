"""What goes into a recurrent layer inside a model, seen while the model runs."""

import contextlib
import functools
import threading
import weakref

import keras
import tensorflow as tf

from aux_keras.arguments import check_runs_as_keras, shape_built_for
from aux_keras.layers.token_embedding import TokenEmbedding
from aux_keras.layers.truncated_rnn import TruncatedRNN
from aux_keras.models import input_checks
from aux_keras.models.memory_gap import Reading
from aux_keras.padding import valid_steps
from aux_keras.scan.recurrence import make_recurrence

RECURRENT = (keras.layers.RNN, TruncatedRNN, keras.layers.Bidirectional)
# Calls of patched layers, by thread.
CALLS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
LOCK = threading.Lock()


class Reached(BaseException):  # as an exception Keras would add its notes
    """The layer has been read, and nothing behind it is wanted."""


def observe(model, inputs, training, run, ends):
    """Runs the Keras model inside an `AuxiliaryModel`, and something at its recurrent layer.

    Args:
        model: a built `AuxiliaryModel`.
        inputs: what it takes.
        training: bool.
        run: function of `(reading, ends, first)` that returns the record at the ends of the
            sequences, with gradient through `ends` steps, and anything; called once, with `ends`
            False where the layer makes its own output.
        ends: int or None, truncation of the layer's output.

    Returns:
        `(y_pred, what run returned besides)`; None while pretraining, which needs nothing behind
        the layer: there is no moving average, no dropout to be drawn.
    """
    layer, found = model.layer, []
    truncated = isinstance(layer, TruncatedRNN)

    def call(original, sequences, initial_state=None, mask=None, training=False):
        if initial_state is not None:
            raise ValueError(
                "`rnn` must start from its own initial state. Received: "
                f"{layer.name!r}, called with `initial_state`"
            )
        if truncated:
            given = layer.prepare(sequences, None, mask, training)
            features, lengths = given.tokens, given.lengths
            encoder = layer.recurrence(training, given.key)
        else:
            features, lengths = valid_steps(tf.cast(sequences, layer.compute_dtype), mask)
            encoder = make_recurrence(layer.cell, None, layer.compute_dtype)
        tokens = read_tokens(model, inputs, sequences, mask)
        embedding = model.token_embedding(characters=tokens.shape.rank == 2)
        reading = Reading(encoder, embedding, tokens, features, lengths)
        one_run = truncated and not layer.return_sequences
        record, result = run(reading, ends, given.first) if one_run else run(reading, False)
        found.append(result)
        if model.pretraining:
            raise Reached
        if record:
            return layer.finish(given, record[0], tuple(record))
        return original(sequences, mask=mask, training=training)

    y_pred = None
    with patched(layer, call), contextlib.suppress(Reached):
        y_pred = model.model(inputs, training=training)
    if len(found) != 1:
        raise ValueError(
            f"`rnn` must be called once by the model. Received: {layer.name!r}, "
            f"called {len(found)} times"
        )
    return y_pred, found[0]


def read_tokens(model, inputs, sequences, mask):
    """The tokens that the losses predict, valid ones first."""
    if model.target == "features":  # a constant: nothing is to make itself easy to predict
        tokens = tf.stop_gradient(tf.convert_to_tensor(sequences))
    else:
        tokens = tf.convert_to_tensor(model.tokens_of(inputs))
        made = made_for(model)
        if made and made[-1] == 1 and tokens.shape.rank == len(made) - 1:
            tokens = tokens[..., None]
        elif made and tokens.shape[-1] == 1 and tokens.shape.rank == len(made) + 1:
            tokens = tokens[..., 0]
    if tokens.dtype.is_integer and tokens.shape.rank == 3 and has_table(model.model):
        raise ValueError(
            "`tokens` must be one sequence of characters or words, (batch, time), to be "
            f"reconstructed. Received: integers of shape {tokens.shape}, for an Embedding"
        )
    tokens = tf.cast(tokens, tf.int32 if tokens.shape.rank == 2 else tf.float32)
    told = "`rnn` must read a time step for every token. Received: "
    steps, read = tokens.shape[1], sequences.shape[1]
    if None not in (steps, read) and steps != read:
        raise ValueError(f"{told}{read} time steps for {steps} tokens")
    if None in (steps, read):
        steps, read = tf.shape(tokens)[1], tf.shape(sequences)[1]
        told = [told, read, "time steps for", steps, "tokens"]
        with tf.control_dependencies([tf.debugging.Assert(steps == read, told)]):
            tokens = tf.identity(tokens)
    if mask is None:  # nothing makes a sequence shorter
        input_checks.check_segments(model.active_losses(), tokens.shape[1])
    return valid_steps(tokens, mask)[0]


def tokens_shape(model, inputs_shape):
    """The shape of these tokens, from those of the inputs of a built Keras model."""
    if model.target == "inputs":
        shape, made = model.tokens_of(inputs_shape), made_for(model)
        return made if made and len(made) != len(shape) else shape
    shape = shape_built_for(model.layer)
    if shape is None:
        raise ValueError(
            f"`rnn` must be called by the model. Received: {model.layer.name!r}, which is not built"
        )
    return shape


def made_for(model):
    """The shape of the tokens that a functional model was made for, or None.

    Keras adds or takes away a last axis of 1 where its data have another number of axes.
    """
    network = getattr(model.model, "_functional", None) or model.model  # of a Sequential
    struct = getattr(network, "_inputs_struct", None)
    if struct is None:
        return None
    shapes = keras.tree.map_structure(lambda t: tuple(t.shape), struct)
    return pick(model.model, shapes, model.tokens)


@contextlib.contextmanager
def patched(layer, call):
    """Gives a layer another `call` inside the block, a function of its own and its arguments.

    Replicas are traced in threads that take turns: each has the one that it has given.
    """
    original, thread = type(layer).call.__get__(layer), threading.get_ident()
    with LOCK:
        calls = CALLS.setdefault(layer, {})
        calls[thread] = functools.partial(call, original)
        layer.call = functools.wraps(original)(  # of which Keras names the arguments in errors
            lambda *given, **options: calls.get(threading.get_ident(), original)(*given, **options)
        )
    try:
        yield
    finally:
        with LOCK:
            del calls[thread]
            if not calls:
                del layer.call  # the class's own is there again


def pick(model, inputs, key):
    """The tokens, or their shape, among a model's inputs, or their shapes.

    A functional model takes its inputs by name and by position, whichever it was made with.
    """
    names = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    by_name = isinstance(inputs, dict)
    if not by_name and (not isinstance(inputs, (list, tuple)) or is_shape(inputs)):  # there is one
        if key is None or (len(names) == 1 and key in (0, *names)):
            return inputs
    elif key is None:
        return tuple(inputs.values() if by_name else inputs)[0] if len(inputs) == 1 else inputs
    else:
        if by_name and key not in inputs and key in range(len(names)):
            key = names[key]
        elif not by_name and key in names:
            key = names.index(key)
        with contextlib.suppress(KeyError, IndexError, TypeError):
            return inputs[key]
    raise ValueError(
        "`tokens` must be a key or position in the model's inputs. Received: "
        f"tokens={key!r} of {inputs}"
    )


def as_given(model, shapes):
    """Shapes in the structure of a functional model's inputs, which `input_shape` flattens."""
    struct = getattr(model, "_inputs_struct", None)
    if isinstance(struct, dict) and isinstance(shapes, list):
        return keras.tree.pack_sequence_as(struct, [tuple(shape) for shape in shapes])
    return shapes


def is_shape(value):
    """Whether a value is the shape of one tensor, and not of several."""
    return isinstance(value, (tuple, list)) and all(n is None or isinstance(n, int) for n in value)


def every_layer(model):
    """The layers of a model, also those inside the models and layers of others in it."""
    for layer in model.layers if isinstance(model, keras.Model) else model._layers:
        yield layer
        known = type(layer).__module__.startswith(("keras.", "aux_keras."))
        if isinstance(layer, keras.Model) or not (known or isinstance(layer, RECURRENT)):
            yield from every_layer(layer)


def has_table(model):
    """Whether there is a `keras.layers.Embedding` in a model, or in a wrapper in it."""
    layers = [getattr(layer, "layer", layer) for layer in every_layer(model)]
    return any(isinstance(layer, keras.layers.Embedding) for layer in layers)


def find_layer(model, kinds, what, argument, name):
    """The layer of these kinds in a model: the one of that name, or the only one."""
    found = [layer for layer in every_layer(model) if isinstance(layer, kinds)]
    named = [layer for layer in found if name in (None, layer.name)]
    if len(named) != 1:
        raise ValueError(
            f"`{argument}` must name one {what} in the model. Received: "
            f"{argument}={name!r}; there are {[layer.name for layer in found]}"
        )
    return named[0]


def recurrent_layer(model, name):
    """The recurrent layer of that name; of a bidirectional one that which reads forward."""
    layer = find_layer(model, RECURRENT, "recurrent layer", "rnn", name)
    layer = getattr(layer, "forward_layer", layer)
    check_runs_as_keras(layer)
    if "float64" in (layer.compute_dtype, keras.config.floatx()):  # of losses, the latter
        raise ValueError(
            "Auxiliary losses run in float32 or half precision: set "
            f"`keras.config.set_floatx('float32')`. Received: {layer.name!r} of dtype "
            f"{layer.compute_dtype}, and floatx {keras.config.floatx()}"
        )
    for option in ("go_backwards", "stateful"):
        if getattr(layer, option):
            raise ValueError(f"`rnn` must not set `{option}`. Received: rnn={layer!r}")
    return layer


def token_embedding(model, layer, name, characters):
    """How the decoders read tokens: as the layer does; characters through the model's table."""
    if getattr(layer, "embedding", None) is not None or not characters:
        return getattr(layer, "embedding", None)
    what = "keras.layers.Embedding of tokens (batch, time)"
    if name is None and not has_table(model):
        raise ValueError(
            "`model` must have a keras.layers.Embedding to read characters, tokens of shape "
            f"(batch, time); numbers need a last axis, (batch, time, 1). Received: model={model!r}"
        )
    layer = find_layer(model, keras.layers.Embedding, what, "embedding", name)
    shared = TokenEmbedding(layer.output_dim, layer.input_dim)
    shared.kernel, shared.built = layer.embeddings, True
    return shared
