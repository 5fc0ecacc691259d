"""The commands behind the tables: runs, their reuse, and the csv."""

import csv
import json
import pathlib
import statistics

import pytest

from aux_keras.experiments import figures, table

TINY = [
    "units=4", "decoder_units=4", "classifier_units=0", "embedding_units=0", "segment_length=8",
    "train_examples=64", "test_examples=50", "batch_size=32", "epochs=1", "pretrain_epochs=1",
]  # fmt: skip


def test_a_table_is_made_of_the_runs_of_its_seeds(tmp_path, monkeypatch):
    output, workdir = tmp_path / "tables" / "t.csv", tmp_path / "runs"

    def compare(*extra):
        given = [f"--workdir={workdir}", f"--output={output}", "--flags", *TINY, *extra]
        monkeypatch.setattr("sys.argv", ["compare", *given])
        table.compare("A table.", {"r": ["--flagfile=configs/digits_r.cfg"]}, seeds=2)
        return list(csv.DictReader(output.read_text().splitlines()))

    (row,) = compare()
    results = [workdir / f"r_{seed}" / "result.json" for seed in range(2)]
    accuracies = [json.loads(path.read_text())["test_accuracy"] for path in results]
    assert [float(a) for a in row["test_accuracy_by_seed"].split()] == pytest.approx(
        accuracies, abs=1e-4
    )
    assert float(row["test_accuracy_mean"]) == pytest.approx(statistics.mean(accuracies), abs=1e-4)
    assert float(row["test_accuracy_sd"]) == pytest.approx(statistics.stdev(accuracies), abs=1e-4)
    assert (row["method"], row["flags"]) == ("r", "--flagfile=configs/digits_r.cfg")

    written = [path.stat().st_mtime_ns for path in results]
    assert compare() == [row]
    assert [path.stat().st_mtime_ns for path in results] == written  # not run again

    with pytest.raises(RuntimeError, match="another configuration"):
        compare("units=5")


def test_figures_are_drawn_of_the_tables_that_are_there(tmp_path, capsys):
    """Those of the documentation are what the command draws of `results/` now."""
    root = pathlib.Path(__file__).resolve().parent.parent
    figures.main("aux-keras figures", [f"--results={root / 'results'}", f"--output={tmp_path}"])
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn and drawn == sorted(p.name for p in (root / "docs" / "figures").glob("*.svg"))
    for name in drawn:
        assert (tmp_path / name).read_text() == (root / "docs" / "figures" / name).read_text()
        assert (tmp_path / name).with_suffix(".png").exists()
    with pytest.raises(SystemExit, match="`--results` must hold one of digits.csv"):
        figures.main("aux-keras figures", [f"--results={tmp_path}", f"--output={tmp_path}"])
