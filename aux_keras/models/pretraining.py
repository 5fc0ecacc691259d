"""The phase before labels."""

import contextlib

import tensorflow as tf

from aux_keras.models.gradient_floor import warn_if_damped

KEPT = ("jit_compile", "run_eagerly", "steps_per_execution", "auto_scale_loss")  # of `compile`


def pretrain(model, compile, x, y, optimizer, fit_arguments):
    """See `AuxiliaryModel.pretrain`."""
    if y is not None:
        raise ValueError(
            f"`y` must be left out: `pretrain` takes no labels. Received: y={type(y).__name__}"
        )
    with phase(model, compile, optimizer):
        return model.fit(without_labels(x), **fit_arguments)


@contextlib.contextmanager
def phase(model, compile, optimizer=None):
    """Within it `fit` pretrains; its steps are compiled once, however often it is called.

    Args:
        model: compiled `AuxiliaryModel`.
        compile: its own method, which a subclass may override.
        optimizer: see `AuxiliaryModel.pretrain`.
    """
    if not model.compiled_with:  # Keras says `compiled` also of a loaded model that is not
        raise ValueError("`compile` must be called before `pretrain`. Received: compiled=False")
    if not model.auxiliary:
        raise ValueError("`pretrain` needs an auxiliary loss. Received: auxiliary=[]")
    compiled, scope = model.compiled_with, model.distribute_strategy.scope
    options = {name: value for name, value in compiled().items() if name in KEPT}
    model.pretraining = True
    try:
        model._compile_loss = model._compile_metrics = None  # Keras keeps the last ones
        with scope():  # variables of an optimizer made outside are not those of the replicas
            if optimizer is None:
                optimizer = like(model.optimizer)
            compile(model, optimizer, **options)
        yield
        warn_if_damped(model.optimizer, model.layer.weights)
    finally:
        model.pretraining = False
        with scope():
            compile(model, **compiled())


def like(optimizer):
    """A new optimizer with the arguments of another one."""
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except (NotImplementedError, TypeError) as error:  # a subclass without its `get_config`
        raise ValueError(
            "`optimizer` must be given to `pretrain` where that of `compile` cannot be made anew "
            f"from its config. Received: {optimizer!r}, {error}"
        ) from error


def without_labels(x):
    """A dataset's inputs alone; anything else as it is."""
    if isinstance(x, tf.data.Dataset) and isinstance(x.element_spec, tuple):
        return x.map(lambda tokens, *_: tokens)
    return x
