"""Recurrent cells that Keras does not have."""

from aux_keras.cells.irnn import IRNNCell
from aux_keras.cells.urnn import URNNCell

__all__ = ["IRNNCell", "URNNCell"]
