"""Variables are made before a step is traced: where tracing makes some, TensorFlow traces twice."""

import keras
import numpy as np
import tensorflow as tf

DENSE = (np.ndarray, tf.Tensor, tf.TensorSpec)


def ensure_built(model, inputs):
    """Builds a model and its optimizer on first use, outside of the graph that is being traced."""
    new_optimizer = model.compiled and not model.optimizer.built
    if model.built and not new_optimizer:
        return
    with tf.init_scope(), model.distribute_strategy.scope():
        if not model.built:
            model.build(keras.tree.map_structure(lambda t: tuple(t.shape), inputs))
        if new_optimizer:  # for the weights of both phases
            model.optimizer.build(model.trainable_variables)


def build_for(model, x):
    """Builds a model for the shapes of its data, so that callbacks find it built."""
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        batch = x.element_spec if isinstance(x, tf.data.Dataset) else x[0]
        x = batch[0] if isinstance(batch, tuple) else batch
    shapes = [tf.TensorShape(getattr(leaf, "shape", None)) for leaf in tf.nest.flatten(x)]
    if not model.built and all(shape.rank for shape in shapes):
        with model.distribute_strategy.scope():
            model.build(tf.nest.pack_sequence_as(x, [(None, *shape[1:]) for shape in shapes]))


def symbolic_build(model, iterator=None, data_batch=None):
    """Builds optimizer, losses and metrics, by the shapes of batches and not by a batch.

    In place of `keras.Model._maybe_symbolic_build`, which does so on replicas alone, and reads a
    batch. It cannot take one of several workers, and a shuffled dataset would come in another order
    afterwards.

    Args:
        model: compiled `AuxiliaryModel`.
        iterator: Keras's iterator over batches, of `fit` and `evaluate`.
        data_batch: a batch, of methods that are given one.
    """
    if iterator is not None:
        spec = iterator._distributed_dataset.element_spec
        data_batch = tf.nest.map_structure(lambda s: getattr(s, "_value_specs", [s])[0], spec)
    traced = not model.run_eagerly or model.distribute_strategy.num_replicas_in_sync > 1
    if traced and model.built and all(map(is_dense, tf.nest.flatten(data_batch))):  # else later
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=data_batch)


def is_dense(leaf):
    """Whether a part of a batch, or its spec, is dense with a known number of axes, or None."""
    if leaf is None:
        return True
    return isinstance(leaf, DENSE) and tf.TensorShape(leaf.shape).rank is not None
