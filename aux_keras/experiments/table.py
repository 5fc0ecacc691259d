"""What the experiments' commands have in common: arguments, and a table over seeds."""

import argparse
import csv
import pathlib
import statistics

from aux_keras.experiments import runner

GAP = "_memory_gap"


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
    parser.add_argument("--methods", nargs="+", help="rows to run, by default all")
    parser.add_argument("--flags", nargs="*", default=[], help="flags for all runs, without --")
    parsed = parser.parse_args()
    if parsed.seeds < 1:
        parser.error("--seeds must be at least 1")
    pathlib.Path(parsed.output).parent.mkdir(parents=True, exist_ok=True)
    parsed.workdir = pathlib.Path(parsed.workdir).resolve()
    parsed.flags = [f"--{flag}" for flag in parsed.flags]
    return parsed


def chosen(methods, names):
    """The methods of these names, all if it is None.

    Raises:
        SystemExit: if there is none of a name.
    """
    unknown = sorted(set(names or ()) - set(methods))
    if unknown:
        raise SystemExit(f"--methods must be among {', '.join(methods)}. Received: {unknown}")
    return {name: methods[name] for name in names or methods}


def deviation(values, digits=4):
    """The standard deviation of a figure over seeds as text, empty for one seed."""
    return f"{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""


def spread(name, values, digits=4):
    """Mean, standard deviation and every seed's value of a figure, for a row of the table."""
    return {
        f"{name}_mean": f"{statistics.mean(values):.{digits}f}",
        f"{name}_sd": deviation(values, digits),
        f"{name}_by_seed": " ".join(f"{value:.{digits}f}" for value in values),
    }


def summary(results):
    """Accuracies and minutes of the seeds of a row; of the validation split if there is one."""
    row = {}
    held_out = [result["validation"]["train"] for result in results]
    if all("val_accuracy" in values for values in held_out):
        row = spread("validation_accuracy", [values["val_accuracy"] for values in held_out])
    row |= spread("test_accuracy", [result["test_accuracy"] for result in results])
    minutes = statistics.mean(result["seconds"] for result in results) / 60
    return {**row, "minutes": f"{minutes:.1f}"}


def gaps(results, phase="pretrain"):
    """Memory gaps at the end of a phase, `{loss: [(gap, standard error) of every seed]}`."""
    found = {}
    for result in results:
        values = result["validation"].get(phase, {})
        for name, gap in values.items():
            if name.endswith(GAP):
                loss = name.removeprefix("val_").removesuffix(GAP)
                found.setdefault(loss, []).append((gap, values[f"{name}_error"]))
    return found


def gap_columns(results, phase="pretrain"):
    """Memory gaps of a row: per loss the mean over seeds and its standard deviation."""
    text = []
    for loss, values in gaps(results, phase).items():
        means = [gap for gap, _ in values]
        text.append(f"{loss} {statistics.mean(means):.4f} sd {deviation(means)}")
    return {"memory_gap": "; ".join(text)}


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
    methods = chosen(methods, given.methods)
    runs = {
        f"{method}_{seed}": [*flags, f"--seed={seed}"]
        for seed in range(given.seeds)
        for method, flags in methods.items()
    }
    results = runner.run_all(runs, given.workdir, given.jobs, given.flags)
    rows = []
    for method, flags in methods.items():
        found = [results[f"{method}_{seed}"] for seed in range(given.seeds)]
        row = {"method": method, **summary(found), **gap_columns(found)}
        rows.append({**row, "flags": " ".join(flags)})
    write(given.output, rows)
