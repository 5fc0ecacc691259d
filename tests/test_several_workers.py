"""A run by two workers: killed, stopped and resumed; and what is refused."""

import re
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from aux_keras.models import input_checks
from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier
from aux_keras.training import cluster
from aux_keras.training.addresses import addresses
from aux_keras.training.checkpoints import steps_done
from tests import test_training as runs
from tests.cluster import Cluster, wait_for_step

FLAGS = [*runs.SMALL, "--pretrain_steps=25", "--steps=25", "--checkpoint_steps=4",
         "--batch_size=32"]  # fmt: skip
LOST = (
    "train.py: error: A worker has been lost, and training has stopped. Start the same command on "
    "every worker: they go on from the last checkpoint"
)
STOPPED = "train.py: interrupted by SIGTERM; rerun the same command to resume"


def test_killed_and_stopped_and_resumed_ends_as_unbroken(tmp_path):
    """`kill -9` of one worker in the first phase; SIGTERM to the other one in the second."""
    unbroken, broken, alone = (tmp_path / name for name in ("unbroken", "broken", "alone"))
    (status, out, err), (others, *nothing) = Cluster(unbroken, *FLAGS).wait()
    assert (status, others) == (0, 0) and out.splitlines()[-1].startswith("Test accuracy: ")
    assert (err, *nothing) == ("", "", "")

    cluster = Cluster(broken, *FLAGS, ["--checkpoint_steps=4", "--checkpoint_steps=3"])
    wait_for_step(broken, "pretrain", 8)
    cluster.workers[1].kill()
    (status, _, err), _ = cluster.wait()
    assert status == 1 and len(err.splitlines()) == 1 and err.startswith(LOST)

    cluster = Cluster(broken, *FLAGS)
    wait_for_step(broken, "train", 8)
    cluster.workers[1].send_signal(signal.SIGTERM)
    done = cluster.wait()
    assert [(status, err.splitlines()) for status, _, err in done] == [(143, ["", STOPPED])] * 2
    step = steps_done(broken / "checkpoints" / "train")
    assert 8 <= step < 25

    shutil.copytree(broken, alone)
    one = runs.train(alone, *FLAGS)
    assert one.returncode == 0, one.stderr
    said = f"The checkpoint after {step} steps was written by 2 workers; 1 go on from it"
    assert said in one.stdout

    assert [status for status, *_ in Cluster(broken, *FLAGS).wait()] == [0, 0]
    runs.assert_same_weights(broken, unbroken)
    for row, other in zip(runs.rows(broken), runs.rows(unbroken), strict=True):
        assert row.pop("phase") == other.pop("phase")
        assert row == pytest.approx(other, rel=1e-6)  # sums of replicas are added in another order
    assert not list(broken.rglob("unfinished-*"))


def errors(*arguments):
    """What two workers say, which must be an error of one line each."""
    done = Cluster(*arguments).wait()
    assert all(status == 1 and len(err.splitlines()) == 1 for status, _, err in done), done
    return [err for _, _, err in done]


def test_workers_with_other_flags_are_refused(tmp_path):
    chief, other = errors(tmp_path, *FLAGS, ["--seed=0", "--seed=1"])
    assert "Workers must have the flags and versions of the chief" in chief
    assert "Received: on worker 1 --seed=1" in other and "on the chief --seed=0" in other


def test_a_worker_that_ends_at_once_takes_nothing_along():
    """The sums are known on all workers before one can end; the next ones fail."""
    asked = []

    def total(values):
        asked.append(list(values.numpy()))
        if len(asked) > 1:
            raise tf.errors.UnavailableError(None, None, "the other one has ended")
        return values * 2

    workers = cluster.Workers(tf.distribute.get_strategy(), count=2)
    workers._total = total
    assert workers.anywhere(True, False) == [True, False]
    assert asked == [[1, 0], [0]]
    with pytest.raises(tf.errors.UnavailableError):
        workers.total([0])


def test_workers_that_do_not_share_their_workdir_are_refused(tmp_path):
    own = [f"--workdir={tmp_path / name}" for name in ("a", "b")]
    chief, other = errors(tmp_path, *FLAGS, own)
    assert "`workdir` must be a folder that all workers share" in chief
    assert "worker 1 does not see what the chief writes" in other


def test_a_batch_that_replicas_cannot_share_is_refused(tmp_path):
    for told in errors(tmp_path, *FLAGS, "--batch_size=31"):
        assert "`batch_size` must be a multiple of the 2 replicas" in told


@pytest.mark.parametrize("missing", [0, 1])
def test_a_worker_that_is_missing_is_named(tmp_path, missing):
    cluster = Cluster(tmp_path, *FLAGS, "--worker_timeout=5", missing=missing)
    ((status, _, told),) = cluster.wait()
    assert status == -signal.SIGKILL and len(told.splitlines()) == 1
    assert re.search(r"localhost:\d+ did not start within 5 seconds", told)
    assert told.count("localhost") == 1


def test_local_workers_are_started_by_one_command(tmp_path):
    done = runs.train(tmp_path, *FLAGS, "--local_workers=2", "--batch_size=31")
    assert done.returncode == 1
    assert done.stderr.count("`batch_size` must be a multiple of the 2 replicas") == 2


CLUSTER = '{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": %s}'


def test_addresses():
    found = addresses({"TF_CONFIG": CLUSTER % '{"type": "worker", "index": 1}'})
    assert found == (["a:1", "b:1", "c:1"], 2)
    found = addresses({"TF_CONFIG": CLUSTER % '{"type": "chief", "index": 0}'})
    assert found == (["a:1", "b:1", "c:1"], 0)
    slurm = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1"}
    assert addresses(slurm)[1] == 1


@pytest.mark.parametrize(
    "text",
    [
        "no JSON", "[]", "{}", '{"cluster": {}}', '{"cluster": {}, "task": {}}',
        CLUSTER % '{"type": "worker", "index": 2}', CLUSTER % '{"type": "worker", "index": -1}',
        CLUSTER % '{"type": "evaluator", "index": 0}', CLUSTER % '{"type": "worker"}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}',
        CLUSTER % '{"type": [], "index": 0}',
        '{"cluster": {"worker": [["a:1"], ["a:2"]]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}',
    ],
)  # fmt: skip
def test_a_tf_config_that_cannot_be_meant_is_refused(text):
    with pytest.raises(ValueError, match=r"\$TF_CONFIG must be JSON") as error:
        addresses({"TF_CONFIG": text})
    assert text in str(error.value)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch", "predict_on_batch"])
def test_a_batch_alone_is_refused_by_several_workers(method, monkeypatch):
    """Each would compute it by itself, and updates would not be shared."""
    monkeypatch.setattr(input_checks, "worker_count", lambda strategy: 2)
    model = AuxiliaryClassifier(3, keras.layers.LSTM(4))
    data = [np.ones((2, 9, 1), "float32"), np.zeros(2)][: 1 if method == "predict_on_batch" else 2]
    with pytest.raises(ValueError, match=f"`{method}` must have one worker") as error:
        getattr(model, method)(*data)
    assert str(error.value).endswith("Received: 2 workers")


def test_several_workers_must_be_named(tmp_path):
    done = runs.train(tmp_path, "--strategy=multi_worker")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "`strategy` must be one or mirrored where nothing names the workers" in done.stderr
