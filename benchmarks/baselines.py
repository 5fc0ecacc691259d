"""Time and memory of a training step of every model of the paper, as in its Figure 3, bottom.

`python -m benchmarks.baselines`: one process per point. It may take `--limit` GiB over
its start; one that wants more is told so by the operating system, and its row says
"infeasible" and what it asked for last: the size of a tensor, or more than the limit where
many small ones add up.
"""

import argparse
import math
import re
import resource
import statistics
import subprocess
import sys
import time as clock

from benchmarks.step_memory import current_mib, peak_mib

POINTS = ((784, 128), (4096, 32), (16384, 32))  # time steps, batch
NAMES = ("r", "lstm_full", "irnn", "urnn", "transformer", "tdmca")
GIB, WIDTH = 2**30, 42


def measure(name, time, batch, limit):
    """Milliseconds of a step, median of three after the first two, and MiB over the start."""
    import tensorflow as tf

    from benchmarks import contenders

    before = current_mib()
    with open("/proc/self/statm") as file:
        reserved = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (reserved + int(limit * GIB),) * 2)
    model, data = contenders.make(name, time), contenders.batch(batch, time)
    times = []
    try:
        for _ in range(5):
            began = clock.perf_counter()
            model.train_on_batch(*data)
            times.append(1000 * (clock.perf_counter() - began))
    except tf.errors.ResourceExhaustedError as error:
        return f"infeasible, asked for {asked(error.message, limit)}"
    peak = peak_mib() - before
    return f"{statistics.median(times[2:]):.0f} ms {peak:.0f} MiB"


def asked(message, limit):
    """The size of the tensor that an out-of-memory error names."""
    import tensorflow as tf

    found = re.search(r"shape\[([\d,]+)\] and type (\w+)", message)
    if not found:
        return f"more than {limit:g} GiB"
    size = tf.as_dtype(found[2]).size * math.prod(map(int, found[1].split(",")))
    return f"{size / GIB:.0f} GiB at once" if size > GIB else f"more than {limit:g} GiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--point", nargs=3, metavar=("NAME", "TIME", "BATCH"))
    parser.add_argument("--names", nargs="*", default=NAMES, help="models to measure")
    parser.add_argument("--limit", type=float, default=12, help="GiB over the start of a process")
    arguments = parser.parse_args()
    if arguments.point:
        name, time, batch = arguments.point
        print(measure(name, int(time), int(batch), arguments.limit))
        return
    print(f"A training step, one process per point, {arguments.limit:g} GiB at most")
    print(f"{'model':14}" + "".join(f"{f'{t} steps, batch {b}':>{WIDTH}}" for t, b in POINTS))
    for name in arguments.names:
        cells = []
        for point in POINTS:
            command = [sys.executable, "-m", "benchmarks.baselines", "--limit",
                       str(arguments.limit), "--point", name, *map(str, point)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            # A small allocation that fails ends the process instead of raising.
            failed = f"infeasible, asked for more than {arguments.limit:g} GiB"
            cells.append(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else failed)
        print(f"{name:14}" + "".join(f"{cell:>{WIDTH}}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
