"""Shared by all tests: quiet TensorFlow, one seed, the shared data if there is any.

TensorFlow is imported late: the process that hands out the tests need not wait for it.
"""

import gc
import os
import pathlib
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """Notebooks first: a minute each, which one process would spend alone at the end."""
    items.sort(key=lambda item: item.path.stem != "test_examples")


def pytest_collection_finish():
    """Graphs are many small objects, among which Python would look for garbage all the time.

    Once it finds some, TensorFlow takes up to 18 seconds to give it back; a part's end does it all.
    """
    gc.disable()


def pytest_sessionfinish():
    """Nor at the end, where pytest would have it look five times."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def short_ways():
    with pytest.MonkeyPatch.context() as patch:
        take_short_ways(patch.setattr)
        yield


def take_short_ways(setattr):
    """Graphs of one block of rows: half the time to trace; tests of blocks ask for more.

    And no tuning of data pipelines, whose thread the end of an iterator sometimes waits for, up to
    as long as it lived: a tenth of the time.
    """
    import tensorflow as tf

    from aux_keras.data.datasets import UNTUNED
    from aux_keras.scan import rows

    iterate = tf.data.Dataset.__iter__
    setattr(tf.data.Dataset, "__iter__", lambda data: iterate(data.with_options(UNTUNED)))
    setattr(rows, "core_count", lambda: 1)


@pytest.fixture(autouse=True, scope="module")
def forgetful():
    """TensorFlow's seed, with which it forgets what it has compiled for other modules."""
    import keras

    keras.utils.set_random_seed(7)


@pytest.fixture(autouse=True)
def seeded():
    set_seed(7)


def set_seed(number):
    """As `keras.utils.set_random_seed`, but TensorFlow forgets nothing that it has compiled.

    Keras draws its seeds from Python's numbers; TensorFlow's own seed is that of the module.
    """
    import numpy as np

    random.seed(number)
    np.random.seed(number)


def rmsprop():
    """RMSprop whose epsilon damps no gradient of small networks, which `pretrain` would warn of."""
    import keras

    return keras.optimizers.RMSprop(epsilon=1e-16)
