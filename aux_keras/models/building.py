"""Variables are made before a step is traced: where tracing makes some, TensorFlow traces twice."""

import warnings

import keras
import numpy as np
import tensorflow as tf

DENSE = (np.ndarray, tf.Tensor, tf.TensorSpec)


def ensure_built(model, inputs, training=False):
    """Builds a model, to train its optimizer too, outside of the graph that is being traced."""
    if not model.built:
        with tf.init_scope(), model.distribute_strategy.scope():
            build_by(model, inputs, lambda t: tuple(t.shape))
    if training and not model.optimizer.built:  # for the weights of both phases
        with tf.init_scope():
            model.optimizer.build(model.trainable_variables)


def build_for(model, x):
    """Builds a model for the shapes of its data, so that callbacks find it built."""
    if model.built:
        return
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        batch = x.element_spec if isinstance(x, tf.data.Dataset) else x[0]
        x = batch[0] if isinstance(batch, tuple) else batch
    shapes = [tf.TensorShape(getattr(leaf, "shape", None)) for leaf in tf.nest.flatten(x)]
    if all(shape.rank for shape in shapes):
        with model.distribute_strategy.scope():
            build_by(model, x, lambda t: (None, *t.shape[1:]))


def build_by(model, inputs, shape_of):
    """Builds an `AuxiliaryModel` for inputs, or their specs, of these shapes."""

    def symbolic(leaf):
        sparse = isinstance(leaf, (tf.SparseTensor, tf.SparseTensorSpec))
        return keras.KerasTensor(shape_of(leaf), getattr(leaf, "dtype", None), sparse)

    build_network(model.model, keras.tree.map_structure(symbolic, inputs))
    model.build(keras.tree.map_structure(shape_of, inputs))


def build_network(network, inputs):
    """Builds a Keras model; one without a `build` of its own by what its `call` does.

    Args:
        network: `keras.Model`.
        inputs: `keras.KerasTensor` of each input.
    """
    if network.built:
        return
    if type(network).build is keras.Model.build:
        network.compute_output_spec(inputs)
    network.build(keras.tree.map_structure(lambda t: t.shape, inputs))


def check_network(network):
    """Raises unless this is a Keras model; warns of what an `AuxiliaryModel` does without."""
    if not isinstance(network, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={network!r}")
    methods = ("compute_loss", "train_step", "test_step")
    own = [n for n in methods if getattr(type(network), n) is not getattr(keras.Model, n)]
    if own:
        warnings.warn(
            f"`model` has its own {', '.join(own)}, which an AuxiliaryModel does not call: write "
            "them in a subclass of it.",
            stacklevel=3,
        )


def build_steps(model, training, x, y=None, sample_weight=None):
    """Builds optimizer, losses and metrics before the first step is traced, by shapes alone.

    Keras makes them while it traces that step. So it stays where shapes are not known, where a
    subclass takes batches apart itself, and without tracing; and in an evaluation before the first
    training, as layers may be thawed between the two.

    Args:
        model: compiled `AuxiliaryModel`.
        training: bool.
        x, y, sample_weight: as given to `fit`.
    """
    parts = (model.optimizer, model._compile_loss, model._compile_metrics)
    made = [part is None or part.built for part in parts]
    if all(made) or not (training or made[0]):  # Keras would build the optimizer with the rest
        return
    step = type(model).train_step if training else type(model).test_step
    own_step = not step.__module__.startswith("aux_keras.")
    if own_step or model.run_eagerly or not model.built:
        return
    batch = x.element_spec if isinstance(x, tf.data.Dataset) else (x, y, sample_weight)
    _, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
    missing = labels is None and not model.pretraining  # which the step will say
    if missing or not all(map(is_dense, tf.nest.flatten(batch))):
        return
    batch = tf.nest.map_structure(
        lambda leaf: leaf if leaf is None else tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype),
        batch,
    )
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=batch)


def is_dense(leaf):
    """Whether a part of a batch, or its spec, is dense with a known number of axes, or None."""
    if leaf is None:
        return True
    return isinstance(leaf, DENSE) and bool(tf.TensorShape(leaf.shape).rank)


def symbolic_build(model, iterator=None, data_batch=None):
    """As `keras.Model._maybe_symbolic_build`, by the shapes of batches and not by a batch.

    Keras cannot take one of several workers. And the first batch would have to be read, after which
    a shuffled dataset comes in another order than in one process.
    """
    dataset = getattr(iterator, "_distributed_dataset", None)
    if dataset is not None:
        data_batch = tf.nest.map_structure(
            lambda spec: getattr(spec, "_value_specs", [spec])[0], dataset.element_spec
        )
        iterator = None
    keras.Model._maybe_symbolic_build(model, iterator, data_batch)
