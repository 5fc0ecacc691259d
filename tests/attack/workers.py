"""Kills one of two workers at random moments; the run must end bit-equal to an unbroken one.

python -m tests.attack.workers [--runs=5]

Each run loses a worker in the first phase and one in the second. The other one must stop within a
minute, with one line; then both are started again.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests import test_training as runs
from tests.cluster import Cluster, wait_for_step
from tests.test_several_workers import FLAGS, LOST


def lose(workdir, phase, step, index, after):
    """Kills a worker some time after a checkpoint; seconds until the other one has stopped."""
    cluster = Cluster(workdir, *FLAGS)
    wait_for_step(workdir, phase, step)
    time.sleep(after)
    cluster.workers[index].kill()
    began = time.monotonic()
    status, _, told = cluster.wait()[1 - index]
    seconds = time.monotonic() - began
    assert status == 1 and len(told.splitlines()) == 1 and told.startswith(LOST), (status, told)
    assert seconds < 60
    return seconds


def main():
    """Prints one line per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    given, rng = parser.parse_args(), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        unbroken = Path(folder) / "unbroken"
        assert [status for status, *_ in Cluster(unbroken, *FLAGS).wait()] == [0, 0]
        for number in range(given.runs):
            workdir, told = Path(folder) / str(number), []
            for phase in ("pretrain", "train"):
                step, index, after = rng.randrange(1, 16), rng.randrange(2), rng.uniform(0, 0.3)
                seconds = lose(workdir, phase, step, index, after)
                told.append(f"worker {index} in {phase}, the other stopped after {seconds:.0f} s")
            assert [status for status, *_ in Cluster(workdir, *FLAGS).wait()] == [0, 0]
            runs.assert_same_weights(workdir, unbroken)
            print(f"{number}: {'; '.join(told)}: bit-equal", flush=True)


if __name__ == "__main__":
    main()
