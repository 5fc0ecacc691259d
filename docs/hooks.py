"""What the site makes of `results/` and of the README when it is built.

In a page, on a line of its own:

{{ readme }}                                  the README, links made for the site
{{ text results/FILE.txt }}                   a file as it is
{{ table results/FILE.csv COLUMN=HEADER ... }}  a row per row; of a figure mean and deviation
{{ pivot results/FILE.csv ROW COLUMN FIGURE }}  a row per value of ROW, a column per one of COLUMN;
                                              ROW may be two columns, A+B; COLUMN=VALUE after
                                              these takes the rows that have it alone
{{ differences results/FILE.csv FIGURE METHOD ... }}  how far the other methods are above these
{{ paper NAME ... }}                          the paper's numbers of experiments, a column per task
"""

import csv
import itertools
import math
import pathlib
import re
import statistics

from aux_keras.experiments import catalogue

ROOT = pathlib.Path(__file__).resolve().parent.parent


def on_page_markdown(markdown, **options):
    """Called by MkDocs for every page."""
    makers = {
        "readme": readme, "text": text, "table": table, "pivot": pivot,
        "differences": differences, "paper": paper,
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


def pivot(path, row, column, name, *only):
    """A line per value of `row`, a column per value of `column`."""
    found, only = {}, dict(each.split("=") for each in only)
    lines = [line for line in rows(path) if only.items() <= line.items()]
    for line in lines:
        key = tuple(line[part] for part in row.split("+"))
        found.setdefault(key, {})[line[column]] = figure(line, name)
    columns = list(dict.fromkeys(line[column] for line in lines))
    lines = [[*key, *(values.get(c, "-") for c in columns)] for key, values in found.items()]
    return _markdown([*row.split("+"), *columns], lines)


def differences(path, name, *methods):
    """A line per row of other methods: points above `methods`, and how many standard errors."""
    lines = rows(path)
    keys = list(itertools.takewhile(lambda n: n != "paper" and not n.endswith("_mean"), lines[0]))
    found = {tuple(row[key] for key in keys): row for row in lines}

    def above(row, method):
        other = found.get(tuple({**row, "method": method}[key] for key in keys))
        return difference(row, other, name) if other else "not run"

    cells = [
        [*(row[key] for key in keys), *(above(row, method) for method in methods)]
        for row in lines if row["method"] not in methods
    ]  # fmt: skip
    return _markdown([*keys, *(f"above {method}" for method in methods)], cells)


def difference(row, other, name):
    """Points between two rows; with two seeds or more in brackets how many standard errors."""
    found = [[100 * float(v) for v in each[f"{name}_by_seed"].split()] for each in (row, other)]
    points = statistics.mean(found[0]) - statistics.mean(found[1])
    if min(map(len, found)) < 2:
        return f"{points:.1f}"
    error = math.sqrt(sum(statistics.variance(values) / len(values) for values in found))
    return f"{points:.1f} ({points / error:.1f})"


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
    cell = f"{scale * float(mean):z.{digits}f}"
    return f"{cell} ± {scale * float(deviation):.{digits}f}" if deviation else cell


def _markdown(headers, lines):
    rule = ["---"] + ["--:"] * (len(headers) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in [headers, rule, *lines])
