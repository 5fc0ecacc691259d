"""The paper's Figure 4 in miniature: shrinking supervised truncation, on digits.

`python -m aux_keras.experiments.digits --workdir=runs/figure4 --output=results/digits.csv`
"""

import argparse
import csv
import pathlib
import statistics

from aux_keras.experiments import runner

METHODS = ("lstm", "r", "p", "rp")
TRUNCATIONS = (0, 1, 8, 16)


def main():
    """Runs what is not run yet and writes mean and standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    parser.add_argument("--output", required=True, help="csv file to write")
    parser.add_argument("--seeds", type=int, default=5, help="seeds per cell of the table")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    arguments = parser.parse_args()
    cells = [(t, m) for t in TRUNCATIONS for m in METHODS]
    runs = {
        f"{method}_{truncation}_{seed}": [
            f"--flagfile=configs/digits_{method}.cfg",
            f"--supervised_truncation={truncation}",
            f"--seed={seed}",
        ]
        for seed in range(arguments.seeds)
        for truncation, method in cells
    }
    results = runner.run_all(runs, arguments.workdir, arguments.jobs)
    rows = []
    for truncation, method in cells:
        names = [f"{method}_{truncation}_{seed}" for seed in range(arguments.seeds)]
        rows.append(summary(method, truncation, [results[n]["test_accuracy"] for n in names]))
    with open(pathlib.Path(arguments.output), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def summary(method, truncation, accuracies):
    """One row of the table: mean, standard deviation and every seed's accuracy."""
    return {
        "flagfile": f"configs/digits_{method}.cfg",
        "supervised_truncation": truncation,
        "test_accuracy_mean": f"{statistics.mean(accuracies):.4f}",
        "test_accuracy_sd": f"{statistics.stdev(accuracies):.4f}",
        "test_accuracies": " ".join(f"{a:.4f}" for a in accuracies),
    }


if __name__ == "__main__":
    main()
