"""What the experiments' commands have in common: arguments, and a table over seeds."""

import argparse
import csv
import pathlib
import statistics


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
