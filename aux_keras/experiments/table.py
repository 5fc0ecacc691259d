"""What the experiments' commands have in common: arguments, and a table over seeds."""

import argparse
import csv
import pathlib
import statistics

from aux_keras.experiments import runner


def arguments(description, seeds):
    """The arguments of a command, parsed; `workdir` is absolute.

    Args:
        description: one line.
        seeds: default number of seeds.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    parser.add_argument("--output", required=True, help="csv file to write")
    parser.add_argument("--seeds", type=int, default=seeds, help="seeds per row of the table")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--flags", nargs="*", default=[], help="flags for all runs, without --")
    parsed = parser.parse_args()
    if parsed.seeds < 2:
        parser.error("--seeds must be at least 2, for a standard deviation")
    pathlib.Path(parsed.output).parent.mkdir(parents=True, exist_ok=True)
    parsed.workdir = pathlib.Path(parsed.workdir).resolve()
    parsed.flags = [f"--{flag}" for flag in parsed.flags]
    return parsed


def summary(accuracies):
    """Mean, standard deviation and every seed's test accuracy, for a row of the table."""
    return {
        "test_accuracy_mean": f"{statistics.mean(accuracies):.4f}",
        "test_accuracy_sd": f"{statistics.stdev(accuracies):.4f}",
        "test_accuracies": " ".join(f"{a:.4f}" for a in accuracies),
    }


def write(path, rows):
    """Writes rows, dictionaries with the same keys, as a csv file."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def compare(description, methods, seeds):
    """A whole command: runs every method with every seed, and writes a row for each method.

    Args:
        description: one line.
        methods: dict from a method's name to the list of its flags.
        seeds: default number of seeds.
    """
    given = arguments(description, seeds)
    runs = {
        f"{method}_{seed}": [*flags, f"--seed={seed}"]
        for seed in range(given.seeds)
        for method, flags in methods.items()
    }
    results = runner.run_all(runs, given.workdir, given.jobs, given.flags)
    rows = []
    for method, flags in methods.items():
        found = [results[f"{method}_{seed}"] for seed in range(given.seeds)]
        rows.append(
            {
                "method": method,
                **summary([result["test_accuracy"] for result in found]),
                "minutes": f"{sum(result['seconds'] for result in found) / 60 / len(found):.1f}",
                "flags": " ".join(flags),
            }
        )
    write(given.output, rows)
