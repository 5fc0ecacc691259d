"""Kills runs at random moments; every one must end bit-equal to an unbroken one.

python -m tests.attack.kill [--runs=20] [--kills=2]

Moments are uniform over the time of an unbroken run: import, both phases, checkpoints being
written, evaluation and export. Every other signal is SIGTERM, which must lose no step.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import test_training as runs

FLAGS = [*runs.SMALL, "--pretrain_steps=40", "--steps=40", "--checkpoint_steps=7",
         "--batch_size=32"]  # fmt: skip


def interrupt(workdir, after, number):
    """Starts a run and sends it a signal; whether it was still running, and its stderr."""
    process = subprocess.Popen(
        [sys.executable, *runs.command(workdir, *FLAGS)], cwd=runs.ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(after)
    running = process.poll() is None
    process.send_signal(number)
    _, told = process.communicate()
    return running, told


def main():
    """Prints one line per run and the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2)
    given, rng = parser.parse_args(), random.Random(0)
    equal = tracebacks = stray = killed = 0
    with tempfile.TemporaryDirectory() as folder:
        unbroken = Path(folder) / "unbroken"
        began = time.monotonic()
        assert runs.train_anew(unbroken, *FLAGS).returncode == 0
        seconds = time.monotonic() - began
        for number in range(given.runs):
            workdir, moments = Path(folder) / str(number), []
            for _ in range(given.kills):
                kind = (signal.SIGKILL, signal.SIGTERM)[killed % 2]
                moments.append(f"{kind.name} at {rng.uniform(0, seconds):.1f} s")
                running, told = interrupt(workdir, float(moments[-1].split()[2]), kind)
                killed += running
                tracebacks += "Traceback" in told
            done = runs.train_anew(workdir, *FLAGS)
            tracebacks += "Traceback" in done.stderr
            try:
                runs.assert_same_end(workdir, unbroken)
                outcome = "bit-equal"
            except (AssertionError, FileNotFoundError) as error:
                outcome = f"DIFFERENT: {error or done.stderr}"
            equal += outcome == "bit-equal"
            stray += len(list(workdir.rglob("unfinished-*")))
            print(f"{number}: {', '.join(moments)}: {outcome}", flush=True)
    print(f"bit-equal {equal} of {given.runs}, {killed} signals in time, stray files {stray}, "
          f"tracebacks {tracebacks}")  # fmt: skip


if __name__ == "__main__":
    main()
