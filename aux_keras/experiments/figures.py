"""The paper's figures from tables in `results/`, as svg and png.

aux-keras figures --results=results --output=docs/figures
"""

import argparse
import csv
import pathlib
import sys

COLOURS = {
    "lstm": "#888888",
    "lstm_long": "#888888",
    "r": "#1f6f8b",
    "p": "#d1873f",
    "rp": "#7a4f9a",
}
NAMES = {"lstm_long": "LSTM, equal epochs", "lstm": "LSTM", "r": "r-LSTM", "p": "p-LSTM",
         "rp": "both losses"}  # fmt: skip


def read(path):
    """Rows of a csv file, or None if there is none."""
    if not path.exists():
        return None
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def accuracy(row, split):
    """Mean and standard deviation of a row, in %; of one seed the latter is 0."""
    values = (row[f"{split}_accuracy_mean"], row[f"{split}_accuracy_sd"] or 0)
    return tuple(100 * float(value) for value in values)


def shrinking_truncation(axes, rows):
    """Figure 4: accuracy against the truncation of the supervised gradient."""
    lines = {}
    for row in rows:
        lines.setdefault(row["method"], []).append(row)
    for method, line in lines.items():
        line = sorted(line, key=lambda row: int(row["supervised_truncation"]))
        places = range(len(line))
        means, deviations = zip(*(accuracy(row, "test") for row in line))
        axes.errorbar(
            places, means, deviations, marker="o", capsize=3, label=NAMES.get(method, method),
            color=COLOURS.get(method),
        )  # fmt: skip
        axes.set_xticks(places, [row["supervised_truncation"] for row in line])
    axes.set_xlabel("steps of back-propagation")
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False)


def ablations(axes, rows):
    """Figure 6: accuracy without each part of r-LSTM."""
    rows = rows[::-1]
    means, deviations = zip(*(accuracy(row, "validation") for row in rows))
    colours = [COLOURS.get(row["method"], "#a9c7d1") for row in rows]
    axes.barh([row["method"].replace("_", " ") for row in rows], means, xerr=deviations,
              color=colours, capsize=2)  # fmt: skip
    axes.set_xlim(max(0, min(means) - 15), 100)
    axes.set_xlabel("validation accuracy, %")


FIGURES = {  # name of the figure: table, and what draws it
    "figure4_digits": ("digits.csv", shrinking_truncation),
    "figure6_digits": ("ablations.csv", ablations),
}


def main(program, arguments):
    """Draws every figure whose table is there."""
    parser = argparse.ArgumentParser(program, description=__doc__.splitlines()[0])
    parser.add_argument("--results", default="results", help="folder of the tables")
    parser.add_argument("--output", required=True, help="folder to write")
    given = parser.parse_args(arguments)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit(f"{program}: error: figures need matplotlib: pip install 'aux_keras[figures]'")
    matplotlib.rcParams["svg.hashsalt"] = "aux_keras"  # the same table gives the same file
    output = pathlib.Path(given.output)
    output.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for name, (table, draw) in FIGURES.items():
        rows = read(pathlib.Path(given.results) / table)
        if rows:
            figure = Figure(figsize=(6, 3.6), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, rows)
            axes.spines[["top", "right"]].set_visible(False)
            for form in ("svg", "png"):
                metadata = {"Date": None} if form == "svg" else {"Software": None}
                figure.savefig(output / f"{name}.{form}", dpi=150, metadata=metadata)
            print(f"{output / name}.svg")
            drawn += 1
    if not drawn:
        tables = ", ".join(table for table, _ in FIGURES.values())
        sys.exit(f"{program}: error: `--results` must hold one of {tables}")
