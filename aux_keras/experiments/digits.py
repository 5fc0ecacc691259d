"""The paper's Figure 4 in miniature: shrinking supervised truncation, on digits.

`python -m aux_keras.experiments.digits --workdir=runs/figure4 --output=results/digits.csv`

All methods train for the same number of supervised epochs, as in the paper; the
pretraining of a method is run once per seed and shared by the truncations. `lstm_long`
is the plain LSTM trained for as many epochs as the others pretrain and train together.
"""

import argparse
import csv
import pathlib
import statistics

from aux_keras.experiments import runner

METHODS = {
    "lstm": ["--flagfile=configs/digits_lstm.cfg"],
    "lstm_long": ["--flagfile=configs/digits_lstm.cfg", "--epochs=130", "--halve_epochs=65"],
    "r": ["--flagfile=configs/digits_r.cfg"],
    "p": ["--flagfile=configs/digits_p.cfg"],
    "rp": ["--flagfile=configs/digits_rp.cfg"],
}
PRETRAINED = ("r", "p", "rp")
TRUNCATIONS = (0, 1, 8, 16)


def main():
    """Runs what is not run yet and writes mean and standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    parser.add_argument("--output", required=True, help="csv file to write")
    parser.add_argument("--seeds", type=int, default=5, help="seeds per cell of the table")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, for a standard deviation")
    pathlib.Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    seeds, workdir = range(arguments.seeds), pathlib.Path(arguments.workdir).resolve()
    pretraining = {
        f"{method}_pretraining_{seed}": [*METHODS[method], "--epochs=0", f"--seed={seed}"]
        for seed in seeds
        for method in PRETRAINED
    }
    runner.run_all(pretraining, workdir, arguments.jobs)
    cells = [(truncation, method) for truncation in TRUNCATIONS for method in METHODS]
    runs = {
        f"{method}_{truncation}_{seed}": flags(method, truncation, seed, workdir)
        for seed in seeds
        for truncation, method in cells
    }
    results = runner.run_all(runs, workdir, arguments.jobs)
    rows = []
    for truncation, method in cells:
        names = [f"{method}_{truncation}_{seed}" for seed in seeds]
        rows.append(summary(method, truncation, [results[n]["test_accuracy"] for n in names]))
    with open(pathlib.Path(arguments.output), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def flags(method, truncation, seed, workdir):
    """Flags of one run of the table."""
    given = [*METHODS[method], f"--supervised_truncation={truncation}", f"--seed={seed}"]
    if method in PRETRAINED:
        given.append(f"--pretrained={workdir / f'{method}_pretraining_{seed}'}")
    return given


def summary(method, truncation, accuracies):
    """One row of the table: mean, standard deviation and every seed's accuracy."""
    return {
        "method": method,
        "supervised_truncation": truncation,
        "test_accuracy_mean": f"{statistics.mean(accuracies):.4f}",
        "test_accuracy_sd": f"{statistics.stdev(accuracies):.4f}",
        "test_accuracies": " ".join(f"{a:.4f}" for a in accuracies),
        "flags": " ".join(METHODS[method]),
    }


if __name__ == "__main__":
    main()
