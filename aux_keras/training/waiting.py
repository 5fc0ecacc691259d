"""Ends a worker that waits too long for others.

TensorFlow waits for ever, and while it waits no other thread of its process runs Python; so this is
a process of its own, of this file: `python waiting.py PID SECONDS ADDRESS ...`.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys


@contextlib.contextmanager
def patience(addresses, seconds):
    """Ends this process with a line on stderr if the block takes longer than so many seconds."""
    command = [sys.executable, __file__, str(os.getpid()), str(seconds), *addresses]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        watcher.stdin.close()
        watcher.wait()


def main():
    """Waits until stdin is closed; if that takes too long, says which addresses do not answer."""
    pid, seconds, *addresses = sys.argv[1:]
    try:
        if ready(float(seconds)):
            return
    except KeyboardInterrupt:  # which the other process does not see
        os.kill(int(pid), signal.SIGKILL)
        return
    missing = [name for name in addresses if ":" in name and not answers(name)]  # else SLURM's
    if ready(0):
        return
    print(
        f"error: {', '.join(missing) or 'A worker'} did not start within {float(seconds):g} "
        "seconds (`--worker_timeout`). Start the same command on every worker",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    os.kill(int(pid), signal.SIGKILL)  # TensorFlow catches SIGTERM


def ready(seconds):
    """Whether stdin is closed, or will be within so many seconds."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def answers(address):
    """Whether something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
