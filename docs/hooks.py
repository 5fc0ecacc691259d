"""What the site makes of `results/` and of the README when it is built.

In a page, on a line of its own:

{{ readme }}                                  the README, links made for the site
{{ text results/FILE.txt }}                   a file as it is
{{ table results/FILE.csv COLUMN=HEADER ... }}  a row per row; of a figure mean and deviation
{{ pivot results/FILE.csv ROW COLUMN FIGURE }}  a row per value of ROW, a column per one of COLUMN
{{ paper NAME ... }}                          the paper's numbers of experiments, a column per task
"""

import csv
import pathlib
import re

from aux_keras.experiments import catalogue

ROOT = pathlib.Path(__file__).resolve().parent.parent


def on_page_markdown(markdown, **options):
    """Called by MkDocs for every page."""
    makers = {
        "readme": readme, "text": text, "table": table, "pivot": pivot, "paper": paper,
    }  # fmt: skip
    return re.sub(
        r"^\{\{ (\w+)(.*?) \}\}$", lambda m: makers[m[1]](*m[2].split()), markdown, flags=re.M
    )


def readme():
    """The README; files that are no pages of the site are named without a link."""
    markdown = (ROOT / "README.md").read_text().replace("](docs/", "](")
    return re.sub(r"\[(\w+\.md)\]\(\1\)", r"`\1`", markdown)


def text(path):
    """A file as it is."""
    return f"```text\n{(ROOT / path).read_text().rstrip()}\n```"


def table(path, *columns):
    """A line per row of a csv file."""
    names = [column.partition("=")[0] for column in columns]
    headers = [column.partition("=")[2].replace("_", " ") for column in columns]
    return _markdown(headers, [[figure(row, name) for name in names] for row in rows(path)])


def pivot(path, row, column, name):
    """A line per value of `row`, a column per value of `column`."""
    found = {}
    for line in rows(path):
        found.setdefault(line[row], {})[line[column]] = figure(line, name)
    columns = list(dict.fromkeys(line[column] for line in rows(path)))
    lines = [[key, *(values.get(c, "not run") for c in columns)] for key, values in found.items()]
    return _markdown([row, *columns], lines)


def paper(*names):
    """The paper's numbers; of rows with two columns the first or the last is across."""
    found = {}
    for row in (row for name in names for row in catalogue.FULL[name].rows):
        values = dict(row.columns)
        across = values.pop("task", None) or values.pop("supervised_truncation", "paper")
        (down,) = values.values()
        found.setdefault(down, {})[across] = "" if row.paper is None else str(row.paper)
    columns = list(next(iter(found.values())))
    lines = [[f"{down}", *(values[c] for c in columns)] for down, values in found.items()]
    return _markdown(["", *map(str, columns)], lines)


def rows(path):
    """Rows of a csv file as dictionaries."""
    with open(ROOT / path, newline="") as file:
        return list(csv.DictReader(file))


def figure(row, name):
    """A cell; of a figure with seeds its mean and standard deviation, accuracies in %."""
    if name in row:
        return row[name]
    mean, deviation = row[f"{name}_mean"], row[f"{name}_sd"]
    scale, digits = (100, 1) if "accuracy" in name else (1, 4)
    cell = f"{scale * float(mean):.{digits}f}"
    return f"{cell} ± {scale * float(deviation):.{digits}f}" if deviation else cell


def _markdown(headers, lines):
    rule = ["---"] + ["--:"] * (len(headers) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in [headers, rule, *lines])
