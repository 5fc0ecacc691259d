"""The paper's figures from tables of `aux-keras experiment`, as svg and png.

aux-keras figures --results=results --output=docs/figures
"""

import argparse
import csv
import os
import pathlib
import sys

COLOURS = {
    "lstm": "#888888", "lstm_long": "#888888", "lstm_full": "#444444", "r": "#1f6f8b",
    "p": "#d1873f", "rp": "#7a4f9a", "r_20x30": "#5fb0a5", "transformer": "#b5495b",
}  # fmt: skip
NAMES = {
    "lstm": "LSTM", "lstm_long": "LSTM, equal epochs", "lstm_full": "LSTM, not truncated",
    "r": "r-LSTM", "p": "p-LSTM", "rp": "both losses",
}  # fmt: skip


def read(path):
    """Rows of a csv file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def in_percent(row, name):
    """Mean and standard deviation of a row's accuracy; of one seed the latter is 0."""
    return tuple(100 * float(row[f"{name}_{part}"] or 0) for part in ("mean", "sd"))


def by_method(rows, column):
    """`(method, its rows in the order of a column)`."""
    methods = dict.fromkeys(row["method"] for row in rows)
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        yield method, sorted(own, key=lambda row: int(row[column]))


def style(method):
    """Label and colour of a method's line."""
    return {"label": NAMES.get(method, method), "color": COLOURS.get(method)}


def lengths(axes, rows):
    """Figure 3: test accuracy, and seconds of a training step, by length of the sequence."""
    top, bottom = axes
    for method, line in by_method(rows, "time"):
        times = [int(row["time"]) for row in line]
        means, deviations = zip(*(in_percent(row, "test_accuracy") for row in line))
        top.errorbar(times, means, deviations, marker="o", capsize=3, **style(method))
        seconds = [float(row["seconds_per_step"]) for row in line]
        bottom.plot(times, seconds, marker="o", **style(method))
    top.set_ylabel("test accuracy, %")
    bottom.set_ylabel("seconds per training step")
    bottom.set_xlabel("time steps of a sequence")
    top.legend(frameon=False)


def shrinking_truncation(axes, rows):
    """Figure 4: test accuracy against the truncation of the supervised gradient."""
    (axes,) = axes
    truncations = sorted({int(row["supervised_truncation"]) for row in rows})
    for method, line in by_method(rows, "supervised_truncation"):
        places = [truncations.index(int(row["supervised_truncation"])) for row in line]
        means, deviations = zip(*(in_percent(row, "test_accuracy") for row in line))
        axes.errorbar(places, means, deviations, marker="o", capsize=3, **style(method))
    axes.set_xticks(range(len(truncations)), map(str, truncations))
    axes.set_xlabel("steps of back-propagation")
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False)


def curves(axes, rows):
    """Figure 5: accuracy in training (dashed) and on held-out examples, by epoch."""
    (axes,) = axes
    for method, line in by_method(rows, "epoch"):
        epochs = [int(row["epoch"]) for row in line]
        shown = style(method)
        label = shown.pop("label")
        for name, dashes in (("accuracy", "--"), ("validation_accuracy", "-")):
            if f"{name}_mean" in line[0]:  # something may have been held out
                means = [in_percent(row, name)[0] for row in line]
                (drawn,) = axes.plot(epochs, means, dashes, **shown)
        drawn.set_label(label)
    axes.set_xlabel("epoch of training")
    axes.set_ylabel("accuracy, %")
    axes.legend(frameon=False)


def ablations(axes, rows):
    """Figure 6: accuracy without each part of r-LSTM, in validation if something was held out."""
    (axes,) = axes
    rows = rows[::-1]
    split = "validation" if "validation_accuracy_mean" in rows[0] else "test"
    means, deviations = zip(*(in_percent(row, f"{split}_accuracy") for row in rows))
    colours = [COLOURS.get(row["method"], "#a9c7d1") for row in rows]
    axes.barh([row["method"].replace("_", " ") for row in rows], means, color=colours, capsize=2,
              xerr=deviations if any(deviations) else None)  # fmt: skip
    axes.set_xlim(max(0, min(means) - 15), min(100, max(means) + 15))
    axes.set_xlabel(f"{split} accuracy, %")


FIGURES = {  # name: what draws it, and the number of its panels
    "figure3": (lengths, 2),
    "figure4": (shrinking_truncation, 1),
    "figure5": (curves, 1),
    "figure6": (ablations, 1),
}


def main(program, arguments):
    """Draws every table of a figure that is there."""
    parser = argparse.ArgumentParser(program, description=__doc__.splitlines()[0])
    path = os.path.expanduser
    parser.add_argument("--results", type=path, default="results", help="folder of figure*_*.csv")
    parser.add_argument("--output", type=path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit(f"{program}: error: figures need matplotlib: pip install 'aux_keras[figures]'")
    tables = sorted(pathlib.Path(given.results).glob("figure[3-6]_*.csv"))
    tables = [table for table in tables if not table.stem.endswith("_profiles")]
    if not tables:
        sys.exit(
            f"{program}: error: `--results` must be a folder with tables that `aux-keras "
            f"experiment` made of figures, such as figure4_miniature.csv. Received: {given.results}"
        )
    matplotlib.rcParams["svg.hashsalt"] = "aux_keras"  # the same table gives the same file
    output = pathlib.Path(given.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"{program}: error: `--output` must be a folder to write: {error}")
    for table in tables:
        draw, panels = FIGURES[table.stem.partition("_")[0]]
        figure = Figure(figsize=(6, 2.9 * panels + 0.7), layout="constrained")
        axes = figure.subplots(panels, squeeze=False)[:, 0]
        try:
            draw(axes, read(table))
        except (KeyError, IndexError, ValueError) as error:
            sys.exit(f"{program}: error: {table} is no table of a figure: {error!r}")
        for each in axes:
            each.spines[["top", "right"]].set_visible(False)
        for form in ("svg", "png"):
            metadata = {"Date": None} if form == "svg" else {"Software": None}
            figure.savefig(output / f"{table.stem}.{form}", dpi=150, metadata=metadata)
        print(f"{output / table.stem}.svg")
