"""Shared by all tests: quiet TensorFlow, one seed, the shared data if there is any."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


def rmsprop():
    """RMSprop with TensorFlow 1's epsilon: with Keras's `pretrain` warns of small gradients."""
    return keras.optimizers.RMSprop(epsilon=1e-10)
