"""One page of a run: curves, confusion, what the RNN remembers, flags and versions."""

import base64
import html
import io

import numpy as np

LEFT_OUT = ("phase", "epoch", "step", "seconds", "seconds_per_step")
STYLE = """
body { font-family: sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem; }
img { max-width: 100%; } pre { overflow-x: auto; background: #f4f4f4; padding: 0.5rem; }
td, th { text-align: left; padding: 0 1rem 0 0; font-weight: normal; }
"""


def curves(rows):
    """Every logged figure by epoch, those of validation beside those of training.

    Args:
        rows: list of dict, the lines of `metrics.jsonl`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    names = {name for row in rows for name in row} - set(LEFT_OUT)
    shown = sorted({name.removeprefix("val_") for name in names if "_gap_error" not in name})
    phases = list(dict.fromkeys(row["phase"] for row in rows))
    figure = Figure(figsize=(4 * len(phases) + 1, 2 * len(shown) + 0.5), layout="constrained")
    panels = figure.subplots(len(shown), len(phases), squeeze=False)
    for column, phase in enumerate(phases):
        own = [row for row in rows if row["phase"] == phase]
        for name, axes in zip(shown, panels[:, column]):
            for full, label, color in (
                (name, "training", "C0"), (f"val_{name}", "validation", "C1")
            ):  # fmt: skip
                points = [(r["epoch"], r[full]) for r in own if r.get(full) is not None]
                if points:
                    axes.plot(*zip(*points), label=label, color=color)
            axes.set_title(f"{phase}: {name.replace('_', ' ')}", size=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_visible(axes.has_data())
        panels[-1, column].set_xlabel("epoch")
    panels[shown.index("loss"), 0].legend(frameon=False)
    return figure


def confusion(labels, predicted, names):
    """How often examples of each class are taken for each class.

    Args:
        labels, predicted: `(examples,)` int, classes.
        names: list of the classes' names.

    Returns:
        `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predicted), 1)
    size = min(12, 2 + 0.4 * len(names))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmax=1)
    if len(names) <= 20:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for true, found in zip(*counts.nonzero()):
            dark = counts[true, found] > counts[true].sum() / 2
            color = "white" if dark else "black"
            axes.text(found, true, counts[true, found], ha="center", va="center", color=color)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def as_png(figure):
    """A figure as the bytes of a png file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def page(title, result, sections, flagfile):
    """The page as HTML that names no other file.

    Args:
        title: one line.
        result: dict of the run's numbers; one level deeper is shown too.
        sections: list of `(heading, png)`, the bytes of a picture.
        flagfile: text of the run's flags.
    """
    numbers = []
    for name, value in result.items():
        nested = value.items() if isinstance(value, dict) else [("", value)]
        for inner, each in nested:
            text = f"{each:.4f}" if isinstance(each, float) else str(each)
            label = f"{name} {inner}".replace("_", " ")
            numbers.append(f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>")
    parts = [f"<h1>{html.escape(title)}</h1>", f"<table>{''.join(numbers)}</table>"]
    for heading, png in sections:
        data = base64.b64encode(png).decode()
        heading = html.escape(heading)
        parts.append(f'<h2>{heading}</h2><img alt="{heading}" src="data:image/png;base64,{data}">')
    parts.append(f"<h2>Flags</h2><pre>{html.escape(flagfile)}</pre>")
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    return head + "\n".join(parts) + "</body></html>\n"
