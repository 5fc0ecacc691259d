"""Peak memory of a training step against the length of the sequence.

`python -m benchmarks.step_memory`: one process per point, which prints its peak resident
set size over what it had after importing Keras. Batch 32. `--features 3` for colours;
`--names tagger dense_tagger plain_tagger` for a label at every step, `TruncatedRNN` beside
`keras.layers.Dense` and `keras.layers.LSTM` of the same width.
"""

import argparse
import resource
import subprocess
import sys

BATCH, TIMES = 32, (1024, 4096, 16384)
NAMES = ("r", "r_20x30", "p", "plain", "plain_embedded")


def measure(name, time, features):
    """MiB of this process's peak over its start, after three training steps."""
    from benchmarks import contenders

    before = current_mib()
    model = contenders.make(name, time, features)
    data = contenders.batch(BATCH, time, features, per_step=name in contenders.TAGGERS)
    for _ in range(3):
        model.train_on_batch(*data)
    return peak_mib() - before


def current_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mib():
    """This process's peak; `getrusage` would tell the parent's, if that was higher."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--point", nargs=2, metavar=("NAME", "TIME"), help="measure one point")
    parser.add_argument("--names", nargs="*", default=NAMES, help="models to measure")
    parser.add_argument("--features", type=int, default=1, help="width of a token")
    arguments = parser.parse_args()
    if arguments.point:
        name, time = arguments.point
        print(f"{measure(name, int(time), arguments.features):.0f}")
        return
    print(
        f"Peak MiB of training steps over the process's start, batch {BATCH}, "
        f"{arguments.features} features"
    )
    print("model           " + "".join(f"{time:>8}" for time in TIMES) + "   growth  allowed")
    for name in arguments.names:
        peaks = []
        for time in TIMES:
            command = [sys.executable, "-m", "benchmarks.step_memory", "--point", name, str(time),
                       "--features", str(arguments.features)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(float(done.stdout.split()[-1]))
        inputs = BATCH * (TIMES[-1] - TIMES[0]) * 4 * arguments.features / 2**20
        print(
            f"{name:16}" + "".join(f"{peak:8.0f}" for peak in peaks)
            + f"{peaks[-1] - peaks[0]:9.0f}{inputs + 0.05 * peaks[0]:9.0f}", flush=True,
        )  # fmt: skip
    print("allowed: growth of the input itself, and 5 % of the first column")


if __name__ == "__main__":
    main()
