"""Runs of `train.py` by two workers on this machine, each a process that tests can signal."""

import time

from aux_keras.local_workers import free_ports, task
from tests import processes
from tests import test_training as runs


class Cluster:
    """Two workers with the same flags, which may differ in environment.

    Args:
        workdir: folder of the run, or one per worker.
        *flags: of both; a list has one flag per worker.
        missing: number of a worker that is not started.
    """

    def __init__(self, workdir, *flags, missing=None):
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
        self.workers = []
        for index in {0, 1} - {missing}:
            own = [flag[index] if isinstance(flag, list) else flag for flag in flags]
            command = runs.command(workdir, *own, "--strategy=multi_worker")
            self.workers.append(processes.Process(*command, TF_CONFIG=task(cluster, index)))

    def wait(self):
        """`(status, stdout, stderr)` of each worker at its end."""
        try:
            done = [worker.wait(timeout=300) for worker in self.workers]
        finally:
            for worker in self.workers:
                worker.kill()
        return [(each.returncode, each.stdout, each.stderr) for each in done]


def wait_for_step(workdir, phase, step):
    """Waits until a run has a checkpoint of a step of a phase."""
    directory = workdir / "checkpoints" / phase
    until = time.monotonic() + 200
    while not any((directory / f"ckpt-{n}").exists() for n in range(step, step + 200)):
        assert time.monotonic() < until, list(workdir.rglob("*"))
        time.sleep(0.02)
