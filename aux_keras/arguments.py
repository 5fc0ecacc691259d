"""Checks of arguments that several layers take, and their way back from a config."""

import copy
import numbers
import operator

import keras

PER = ("example", "batch")  # what has a DropConnect mask of its own


def check_integer(name, value, least, wanted="an integer of at least {least}"):
    """Returns an integer, NumPy's too, or raises a `ValueError` that names the argument."""
    try:
        integer = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        integer = None
    if integer is None or integer < least:
        wanted = wanted.format(least=least)
        raise ValueError(f"`{name}` must be {wanted}. Received: {name}={value!r}")
    return integer


def check_positive(name, value):
    """Returns a positive integer, or raises a `ValueError` that names the argument."""
    return check_integer(name, value, 1, "a positive integer")


def check_choice(name, value, choices):
    """Returns one of the choices, or raises a `ValueError` that names the argument."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def check_rate(name, value):
    """Returns a probability of dropping, or raises a `ValueError` that names the argument."""
    return check_real(name, value, lambda v: 0 <= v < 1, "in [0, 1)")


def check_readout(name, units, drop_rate, drop_per):
    """Raises unless these are sizes of two dense layers: the first one's units, under its name."""
    if units is not None:
        check_integer(name, units, 1, "a positive integer, or None")
    check_rate("drop_rate", drop_rate)
    check_choice("drop_per", drop_per, PER)


def check_real(name, value, accepts, expected):
    """Returns a real number, or raises a `ValueError` that names the argument."""
    if not isinstance(value, numbers.Real) or not accepts(value):
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return value


def is_cell(value):
    """Whether a value is a Keras RNN cell, and not a whole RNN layer."""
    parts = ("state_size", "call")  # all that Keras asks for
    return not isinstance(value, keras.layers.RNN | type) and all(hasattr(value, p) for p in parts)


def check_runs_as_keras(layer):
    """Raises where a subclass of a recurrent layer runs otherwise: its cell is what is run here."""
    ours = next(c for c in type(layer).__mro__ if c.__module__.startswith(("keras.", "aux_keras.")))
    methods = ("call", "inner_loop")
    if own := [n for n in methods if getattr(type(layer), n, 0) is not getattr(ours, n, 0)]:
        raise ValueError(
            f"`rnn` must run its cell as {ours.__name__} does: put what its own {own[0]} adds into "
            f"the cell, or into layers around it. Received: rnn={layer!r}"
        )


def state_sizes(cell):
    """Units of each state of a cell, a list of int."""
    return [
        check_integer("state_size", size, 1, "the units of states (batch, units)")
        for size in keras.tree.flatten(cell.state_size)
    ]


def output_size(cell):
    """Width of a cell's output; Keras's default is that of its first state."""
    return getattr(cell, "output_size", None) or state_sizes(cell)[0]


def check_truncation(name, value):
    """Returns a truncation, or raises a `ValueError` that names the argument."""
    wanted = "None (full back-propagation) or an integer of at least 0 (time steps)"
    return None if value is None else check_integer(name, value, 0, wanted)


def revive(config, *names):
    """A copy of a config with the objects of these names, or lists of them, made anew.

    A copy to the bottom: Keras's own `from_config` methods take things out of what they get.
    """
    config = copy.deepcopy(config)
    objects = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
    return {**config, **objects}


def shape_built_for(layer):
    """The shape of the first input that a layer was built for, or None."""
    config = layer.get_build_config() or {}
    return next(map(tuple, config.get("shapes_dict", config).values()), None)


def unbuilt(config):
    """A config, and those inside it, of new cells: no dropout or penalty, not built or frozen."""
    if isinstance(config, dict):
        left_out = ("build_config", "trainable")
        without = dict.fromkeys(("dropout", "recurrent_dropout"), 0.0)
        without |= {name: None for name in config if name.endswith("_regularizer")}
        return {
            name: without[name] if name in without else unbuilt(value)
            for name, value in config.items() if name not in left_out
        }  # fmt: skip
    if isinstance(config, (list, tuple)):
        return type(config)(map(unbuilt, config))
    return config
