"""The commands behind the tables: every table and figure, runs, their reuse, the csv, pictures."""

import contextlib
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

import keras
import pytest
from matplotlib.figure import Figure

from aux_keras import flags
from aux_keras.experiments import catalogue, command, figures, gather, runner
from aux_keras.models.memory_profile import memory_profile
from aux_keras.training import loop

ROOT = pathlib.Path(__file__).resolve().parent.parent
DBPEDIA = ROOT / "tests" / "dummy_data" / "dbpedia" / "dbpedia_csv"
TINY = [
    "units=4", "decoder_units=4", "classifier_units=0", "embedding_units=0", "segment_length=8",
    "train_examples=64", "test_examples=50", "batch_size=32", "steps=1", "pretrain_steps=1",
    "memory_gap=false", "saved_model=false",
]  # fmt: skip
SMALLEST = {  # the rows to run of each
    "table2": ["p"],
    "table3": ["r_gru"],
    "table4": ["lm"],
    "table5": ["4x12_0"],
    "figure3": ["lstm_full_64"],
    "figure4": ["lstm_8", "r_0"],
    "figure5": ["lstm_long"],
    "figure6": ["no_reversal"],
    "memory_gaps": ["digits_rp"],
}


@pytest.fixture(scope="module")
def pool():
    """Processes that all commands of the module share, as starting TensorFlow takes seconds."""
    with runner.Pool(1) as pool:
        yield pool


@pytest.fixture
def untimed(monkeypatch):
    """No rows are timed beforehand, which takes as long as to run a few steps of them."""
    monkeypatch.setattr(
        runner, "measure", lambda pool, runs: {n: {"train": (1, 1.0)} for n in runs}
    )


def experiment(pool, name, workdir, *arguments, extra=()):
    given = [name, f"--workdir={workdir}", *arguments, "--flags", *TINY, *extra]
    given = command.parse("aux-keras experiment", given)
    command.run(given, pool)
    return list(csv.DictReader(pathlib.Path(given.output).read_text().splitlines()))


@pytest.mark.parametrize("name", SMALLEST)
def test_every_table_and_figure_is_one_command(name, pool, tmp_path, capsys, request):
    if name != "table2":
        request.getfixturevalue("untimed")
    extra = []
    if name == "table4":
        extra = [f"manual_dir={DBPEDIA}", f"data_dir={tmp_path}", "embedding_units=4"]
    elif name == "memory_gaps":
        extra = ["memory_gap=true"]
    elif name == "table2":
        extra = ["task=digits", "image_size=8"]  # no data set to download
    rows = experiment(pool, name, tmp_path, "--seeds=1", "--rows", *SMALLEST[name], extra=extra)
    columns = catalogue.MINIATURE[name].rows[0].columns
    names = {"_".join(row[column] for column in columns) for row in rows}
    assert names == set(SMALLEST[name])
    assert all(row["flags"] for row in rows)
    assert f"{catalogue.MINIATURE[name].title}: " in capsys.readouterr().out
    if name == "memory_gaps":
        assert {row["loss"] for row in rows} == {"reconstruction", "prediction"}
    elif name == "figure5":
        assert [row["epoch"] for row in rows] == ["1"]
    else:
        assert all(0 <= float(row["test_accuracy_mean"]) <= 1 for row in rows)
    if name.startswith("figure"):
        figures.main("aux-keras figures", [f"--results={tmp_path}", f"--output={tmp_path}"])
        assert (tmp_path / f"{name}_miniature.svg").exists()


def test_all_are_in_the_test_above():
    assert set(SMALLEST) == set(catalogue.NAMES) - {"search"}  # is of a quarter of the scale alone
    for scale in catalogue.SCALES:
        assert set(catalogue.of_scale(scale)) <= set(catalogue.NAMES)


@pytest.fixture(autouse=True, scope="module")
def defined_flags():
    """Whichever test of this file a process runs first."""
    with contextlib.suppress(flags.flags.DuplicateFlagError):
        flags.define_flags()


@pytest.mark.parametrize("scale", catalogue.SCALES)
def test_rows_are_configurations(scale):
    """Of every row, at every scale; names tell rows apart, as their folders have to."""
    for experiment in catalogue.of_scale(scale).values():
        names = [row.name for row in experiment.rows]
        assert len(set(names)) == len(names)
        for row in experiment.rows:
            flags.parse(row.flags)


def test_rows_of_a_quarter_have_equal_budgets_and_no_test_data():
    """Also of a row whose flagfile says otherwise; the paper's lengths are divided by four."""
    quarter = catalogue.of_scale("quarter")
    for name in set(quarter) - {"search"}:
        for row in quarter[name].rows:
            config = flags.parse(row.flags)
            steps = config.steps + (0 if config.pretrain_steps is None else config.pretrain_steps)
            labelled = row.columns.get("method", "").endswith("_labelled")
            assert steps == (1500 if labelled else 3000), (name, row.name)
            assert config.validation_fraction and not config.validate_on_test
            assert config.units == 64
    rows = {row.name: row for row in quarter["table2"].rows}
    assert {"lstm_labelled", "lstm_full_labelled"} <= {r.columns["method"] for r in rows.values()}
    r = flags.parse(rows["mnist_r"].flags)
    assert (r.task, r.method, r.image_size) == ("mnist", "r", 14)
    lengths = (r.segment_length, r.auxiliary_truncation, r.supervised_truncation)
    assert lengths == (600 // 4, 300 // 4, 300 // 4)


def test_a_shared_pretraining_is_the_same_whichever_rows_are_run():
    figure = catalogue.MINIATURE["figure4"]
    every, _ = figure.runs(figure.rows, 2, ROOT)
    for row in figure.rows:
        some, runs = figure.runs([row], 2, ROOT)
        assert len(runs) == 2 and some.items() <= every.items()
        assert bool(some) == (row.columns["method"] in ("r", "p", "rp"))


def test_flagfiles_of_the_current_directory_do_not_replace_the_papers(tmp_path, monkeypatch):
    (tmp_path / "cifar_r.cfg").write_text("--task=digits\n")
    monkeypatch.chdir(tmp_path)
    catalogue.of_scale.cache_clear()
    rows = {row.name: row for row in catalogue.of_scale("quarter")["table2"].rows}
    assert "--task=cifar10" in command.resolved(rows["cifar_r"].flags, [])


def test_truncations_that_not_all_methods_have_lie_in_order():
    """r at 0 and 1, the LSTM at 8: three places."""
    axes = Figure().subplots()
    values = {"test_accuracy_mean": "0.5", "test_accuracy_sd": ""}
    cells = [("r", "0"), ("r", "1"), ("lstm", "8")]
    rows = [{"method": m, "supervised_truncation": k, **values} for m, k in cells]
    figures.shrinking_truncation([axes], rows)
    assert [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata())][0] == [0, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "8"]
    assert 2 in [x for line in axes.lines for x in line.get_xdata()]


def test_rows_are_named_once_and_the_list_may_be_cut(tmp_path):
    given = command.parse("aux-keras experiment", ["figure6", "--rows", "r", "lstm", "r"])
    assert [row.name for row in given.rows] == ["r", "lstm"]
    shell = f"set -o pipefail; {sys.executable} -m aux_keras experiment table2 --list | head -c 1"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "l" and not done.stderr, done


def test_curves_need_nothing_held_out(tmp_path):
    lines = [{"phase": "train", "epoch": 1, "accuracy": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = catalogue.MINIATURE["figure5"].rows[0]
    table = gather.curves([row], {row.name: [{"workdir": tmp_path}]}, {})
    gather.write(tmp_path / "figure5_miniature.csv", table)
    assert "validation_accuracy_mean" not in table[0]
    figures.main("aux-keras figures", [f"--results={tmp_path}", f"--output={tmp_path}"])
    assert (tmp_path / "figure5_miniature.svg").exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "row\n"])
def test_what_is_no_table_of_a_figure_is_named(text, tmp_path):
    (tmp_path / "figure6_profiles.csv").write_text(text)  # of another kind
    (tmp_path / "figure6_miniature.csv").write_text(text)
    with pytest.raises(SystemExit, match="figure6_miniature.csv is no table of a figure"):
        figures.main("aux-keras figures", [f"--results={tmp_path}", f"--output={tmp_path}"])


@pytest.mark.usefixtures("untimed")
def test_a_table_is_made_of_the_runs_of_its_seeds(pool, tmp_path):
    arguments = (pool, "figure6", tmp_path, "--seeds=2", "--rows", "lstm")
    (row,) = experiment(*arguments)
    results = [tmp_path / f"lstm_{seed}" / "result.json" for seed in range(2)]
    accuracies = [json.loads(path.read_text())["test_accuracy"] for path in results]
    assert [float(a) for a in row["test_accuracy_by_seed"].split()] == pytest.approx(
        accuracies, abs=1e-4
    )
    lstm = catalogue.MINIATURE["figure6"].rows[0]
    common = [f"--{flag}" for flag in TINY if not flag.startswith("saved_model")]  # no place
    assert (row["method"], row["flags"]) == ("lstm", " ".join([*lstm.flags, *common]))
    assert float(row["test_accuracy_mean"]) == pytest.approx(statistics.mean(accuracies), abs=1e-4)
    assert float(row["test_accuracy_sd"]) == pytest.approx(statistics.stdev(accuracies), abs=1e-4)

    written = [path.stat().st_mtime_ns for path in results]
    assert experiment(*arguments) == [row]
    assert [path.stat().st_mtime_ns for path in results] == written  # not run again

    with pytest.raises(RuntimeError, match="another configuration"):
        experiment(*arguments, extra=["units=5"])


@pytest.mark.usefixtures("untimed")
def test_memory_profiles_are_errors_by_distance(pool, tmp_path):
    """Of the finished runs of a table; a row without losses has none."""
    arguments = (pool, "figure6", tmp_path, "--seeds=1", "--rows", "lstm", "anywhere", "--profiles")
    experiment(*arguments)
    lines = figures.read(tmp_path / "figure6_miniature_profiles.csv")
    phases = {(line["row"], line["phase"]) for line in lines}
    assert phases == {("anywhere", "pretrain"), ("anywhere", "train")}
    model = keras.models.load_model(tmp_path / "anywhere_0" / "model.keras", compile=False)
    row = next(r for r in catalogue.MINIATURE["figure6"].rows if r.name == "anywhere")
    config = flags.parse([*command.resolved(row.flags, [f"--{f}" for f in TINY]), "--seed=0"])
    batches = loop.load_task(config).evaluation("validation")
    profile = memory_profile(model, batches, "reconstruction")
    means = {}  # by side and distance, one token after another
    for distance, *errors, count in zip(
        profile.distances, profile.own, profile.other, profile.counts
    ):
        side, tokens = ("after", 1 - distance) if distance < 1 else ("before", distance)
        farthest = 1
        while farthest < tokens:
            farthest *= 2
        nearest = farthest // 2 + 1
        name = f"{nearest} to {farthest}" if farthest > nearest else f"{nearest}"
        means.setdefault((side, name), []).append((*errors, count))
    assert {(line["side"], line["distance"]) for line in lines} <= set(means)
    assert {line["side"] for line in lines} == {"after", "before"}
    for line in (line for line in lines if line["phase"] == "train"):
        parts = means[line["side"], line["distance"]]
        total = sum(count for *_, count in parts)
        own, other = (sum(part[i] * part[2] for part in parts) / total for i in (0, 1))
        found = [float(line[f"{name}_mean"]) for name in ("own", "other", "gap")]
        assert found == pytest.approx([own, other, other - own], abs=2e-5)


def test_an_interrupted_experiment_says_how_to_go_on(tmp_path):
    """A signal during the runs: their workers stop too, and nothing is said but one line."""
    arguments = ["--rows", "lstm", "--jobs=1", "--seeds=1", f"--workdir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "aux_keras", "experiment", "figure6", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    metrics = tmp_path / "lstm_0" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.terminate()  # stops it as ctrl-C does, which a shell in the background ignores
    printed, errors = process.communicate()
    assert process.returncode == 130
    assert "about 1 min" in printed
    assert errors.strip() == "aux-keras experiment: interrupted; rerun the same command to resume"
    running = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    assert not running.stdout
    assert list((tmp_path / "lstm_0" / "checkpoints" / "train").glob("ckpt-*"))


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["table9"], "invalid choice: 'table9'"),
        (["figure3", "--scale=quarter"], "figure3 has no scale quarter"),
        (["figure6", "--rows", "q"], "--rows must be among lstm, r,"),
        (["figure6", "--seeds=0"], "--seeds and --jobs must be at least 1"),
        (["figure6", "--flags", "seed=3", "units=4"], "--flags must not set seed: the table's"),
        (["figure4", "--flags", "supervised_truncation=1"], "must not set supervised_truncation"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command.parse("aux-keras experiment", [*arguments, "--workdir=x"])
    assert message in capsys.readouterr().err


def test_figures_are_drawn_of_the_tables_that_are_there(tmp_path):
    """Those of the documentation are what the command draws of `results/` now."""
    figures.main("aux-keras figures", [f"--results={ROOT / 'results'}", f"--output={tmp_path}"])
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn and drawn == sorted(p.name for p in (ROOT / "docs/figures").glob("*.svg"))
    for name in drawn:
        assert (tmp_path / name).read_text() == (ROOT / "docs" / "figures" / name).read_text()
        assert (tmp_path / name).with_suffix(".png").exists()
    with pytest.raises(SystemExit, match="`--results` must be a folder with tables"):
        figures.main("aux-keras figures", [f"--results={tmp_path / 'no'}", f"--output={tmp_path}"])
    with pytest.raises(SystemExit, match="`--output` must be a folder to write"):
        figures.main("aux-keras figures", [f"--results={ROOT / 'results'}", f"--output={__file__}"])
