"""Recurrent cells that Keras does not have."""

from aux_keras import backend  # noqa: F401, before anything of Keras is made
from aux_keras.cells.irnn import IRNNCell
from aux_keras.cells.urnn import URNNCell

__all__ = ["IRNNCell", "URNNCell"]
