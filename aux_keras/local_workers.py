"""Several workers on this machine, to try what runs on several."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys


def launch(config):
    """Starts `local_workers` processes that train together, and waits for them.

    Args:
        config: `ExperimentConfig`.

    Returns:
        int, exit status of the first worker that did not succeed, or 0.
    """
    count = config.local_workers
    config = dataclasses.replace(config, local_workers=0, strategy="multi_worker")
    command = [sys.executable, "-m", "aux_keras", "train", *config.flagfile().splitlines()]
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
    root = str(pathlib.Path(__file__).resolve().parent.parent)  # it need not be installed
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path, "TF_CONFIG": task(cluster, index)}
        )
        for index in range(count)
    ]

    def forward(number, frame):
        for process in processes:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the workers by itself
    statuses = [process.wait() for process in processes]
    return next((128 - s if s < 0 else s for s in statuses if s), 0)  # as shells count


def task(cluster, index):
    """`$TF_CONFIG` of one worker."""
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def free_ports(count):
    """Numbers of ports that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
