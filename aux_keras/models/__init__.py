"""Keras models, and the factory that makes them from a configuration."""

from aux_keras import backend  # noqa: F401, before anything of Keras is made
