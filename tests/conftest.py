"""Shared by all tests: quiet TensorFlow, one seed, the shared data if there is any."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

from aux_keras.scan import rows

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_block():
    """Graphs of one block of rows: half the time to trace. Tests of blocks ask for more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "core_count", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


def rmsprop():
    """RMSprop whose epsilon damps no gradient of small networks, which `pretrain` would warn of."""
    return keras.optimizers.RMSprop(epsilon=1e-16)
