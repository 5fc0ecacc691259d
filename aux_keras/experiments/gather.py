"""Tables of the results of runs: mean, standard deviation and every seed's value."""

import csv
import json
import statistics

import numpy as np

GAP = "_memory_gap"


def deviation(values, digits=4):
    """The standard deviation of a figure over seeds as text, empty for one seed."""
    return f"{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""


def spread(name, values, digits=4):
    """Mean, standard deviation and every seed's value of a figure, for a line of a table."""
    return {
        f"{name}_mean": f"{statistics.mean(values):.{digits}f}",
        f"{name}_sd": deviation(values, digits),
        f"{name}_by_seed": " ".join(f"{value:.{digits}f}" for value in values),
    }


def accuracies(rows, results, before):
    """A line per row: accuracies, minutes, time of a step, memory gap.

    Args:
        rows: list of `Row`.
        results: dict from a row's name to the `result.json` of its seeds.
        before: dict from a row's name to those of the pretraining that it shares, if it does.

    Returns:
        list of dict.
    """
    lines = []
    for row in rows:
        found = results[row.name]
        line = {**row.columns, "paper": row.paper or ""}
        held_out = [result["validation"]["train"].get("val_accuracy") for result in found]
        if all(value is not None for value in held_out):
            line |= spread("validation_accuracy", held_out)
        line |= spread("test_accuracy", [result["test_accuracy"] for result in found])
        line["minutes"] = f"{statistics.mean(r['seconds'] for r in found) / 60:.1f}"
        line["seconds_per_step"] = f"{statistics.mean(r['seconds_per_step'] for r in found):.4f}"
        text = []
        for loss, values in gaps(before.get(row.name, found)).items():
            means = [gap for gap, _ in values]
            sd = f" sd {deviation(means)}" if len(means) > 1 else ""
            text.append(f"{loss} {statistics.mean(means):.4f}{sd}")
        lines.append({**line, "memory_gap": "; ".join(text), "flags": " ".join(row.flags)})
    return lines


def gaps(results):
    """Memory gaps at the end of pretraining, `{loss: [(gap, standard error) of every seed]}`."""
    found = {}
    for result in results:
        values = result["validation"].get("pretrain", {})
        for name, gap in values.items():
            if name.endswith(GAP):
                loss = name.removeprefix("val_").removesuffix(GAP)
                found.setdefault(loss, []).append((gap, values[f"{name}_error"]))
    return found


def memory_gaps(rows, results, before):
    """A line per row and auxiliary loss: its memory gap; arguments as of `accuracies`."""
    lines = []
    for row in rows:
        for loss, values in gaps(results[row.name]).items():
            means, errors = zip(*values)
            line = {**row.columns, "loss": loss, **spread("memory_gap", means, digits=5)}
            line["error_within_run"] = f"{statistics.mean(errors):.5f}"
            lines.append({**line, "flags": " ".join(row.flags)})
    return lines


def curves(rows, results, before):
    """A line per row and epoch of training: accuracy in training and in validation.

    Arguments as of `accuracies`.
    """
    lines = []
    for row in rows:
        runs = [trained(result["workdir"]) for result in results[row.name]]
        for epochs in zip(*runs):
            line = {**row.columns, "epoch": epochs[0]["epoch"]}
            line |= spread("accuracy", [epoch["accuracy"] for epoch in epochs])
            if "val_accuracy" in epochs[0]:
                line |= spread("validation_accuracy", [epoch["val_accuracy"] for epoch in epochs])
            lines.append({**line, "flags": " ".join(row.flags)})
    return lines


def profiles(found):
    """A line per row, phase, loss and band of distances from the anchor: both errors, their gap.

    Args:
        found: dict from a row's name to what `worker.profiled` returns of its seeds.

    Returns:
        list of dict; `own` and `other` as in `MemoryProfile`, `gap` their difference.
    """
    lines = []
    for row, seeds in found.items():
        for phase, loss in [(name, loss) for name, losses in seeds[0].items() for loss in losses]:
            errors = [by_distance(seed[phase][loss]) for seed in seeds]
            for band in sorted(set.intersection(*map(set, errors))):
                own, other = zip(*(seed[band] for seed in errors))
                after, nearest, farthest = band
                line = {"row": row, "loss": loss, "phase": phase}
                line["side"] = "after" if after else "before"
                line["distance"] = f"{nearest} to {farthest}" if farthest > nearest else nearest
                line |= spread("own", own, 5) | spread("other", other, 5)
                gaps = [b - a for a, b in zip(own, other)]
                lines.append(line | spread("gap", gaps, 5))
    return lines


def by_distance(profile):
    """Mean errors of a profile by band, 1, 2, 3 to 4, 5 to 8 ... tokens before or after the anchor.

    Returns:
        dict from `(whether after, nearest, farthest)` to `(own, other)`.
    """
    distances, counts = np.asarray(profile["distances"]), np.asarray(profile["counts"])
    after = distances < 1  # 0 is the first token after the anchor
    exponents = np.ceil(np.log2(np.where(after, 1 - distances, distances))).astype(int)
    found = {}
    for side, exponent in sorted(set(zip(after.tolist(), exponents.tolist()))):
        inside = (after == side) & (exponents == exponent)
        errors = [np.average(np.asarray(profile[n])[inside], weights=counts[inside])
                  for n in ("own", "other")]  # fmt: skip
        found[side, 2**exponent // 2 + 1, 2**exponent] = tuple(map(float, errors))
    return found


def trained(workdir):
    """The lines of a run's `metrics.jsonl` that are of training."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["phase"] == "train"]


def write(path, lines):
    """Writes lines, dictionaries, as a csv file; what a line lacks is empty."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
