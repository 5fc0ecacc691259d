"""Flags, flagfiles, and the way of a value from a flagfile to a layer."""

import dataclasses
import inspect
import pathlib
import subprocess
import sys

import pytest

from aux_keras import (
    AuxiliaryClassifier,
    Prediction,
    Reconstruction,
    TransformerClassifier,
    flags,
)
from aux_keras.config import ExperimentConfig, unread
from aux_keras.models import factory

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGFILES = sorted((ROOT / "configs").rglob("*.cfg"))
TASKS = {  # time, features, classes, vocabulary_size
    "mnist": (784, 1, 10, None),
    "pmnist": (784, 1, 10, None),
    "cifar10": (1024, 3, 10, None),
    "stanford_dogs": (1600, 3, 120, None),
    "dbpedia": (None, None, 14, 72),
    "digits": (64, 1, 10, None),
}
PAPER = [f"{task}_{method}" for task in ("mnist", "pmnist", "cifar")
         for method in ("lstm_full", "lstm_300", "r", "p", "r_full", "p_full")]  # fmt: skip
DOGS = [f"dogs_{method}" for method in ("lstm_full", "r", "p", "r_20x30")]
DBPEDIA = [f"dbpedia_{method}" for method in ("lstm_full", "lm", "sa", "r", "r_20x15", "p")]
DIGITS = [f"digits_{method}" for method in ("lstm", "r", "p", "rp", "irnn", "urnn", "transformer",
                                            "tdmca", "r_irnn", "r_gru", "r_urnn")]  # fmt: skip
BASELINES = [f"{task}_{method}" for task in ("mnist", "pmnist", "cifar")
             for method in ("irnn", "urnn", "transformer", "tdmca")]  # fmt: skip
SEGMENTS = ("10x60", "20x30", "50x12", "100x6", "200x3")
ABLATIONS = {  # of Figure 6: what differs from cifar_r
    "no_joint_training": {"joint_training": False},
    "no_pretraining": {"pretrain_epochs": 0},
    "no_scheduled_sampling": {"sampling_decay_steps": 0},
    "immediate_past": {"placement": "immediate"},
    "no_spill": {"placement": "past"},
    "no_embedding": {"embedding_units": 0},
    "no_reversal": {"reverse": False},
    "one_layer_decoder": {"decoder_layers": 1},
}
# Of Table 5 and Figures 4 to 6: the flagfile that each changes, and what it changes there.
VARIANTS = {
    **{f"table5/cifar_r_{cell}_0": (f"table5/cifar_r_{cell}", {"supervised_truncation": 0})
       for cell in SEGMENTS},
    **{f"figure4/cifar_{method}_{k}": (f"cifar_{method}", {"supervised_truncation": k})
       for method in "rp" for k in (200, 100, 50, 1, 0)},
    **{f"figure5/cifar_{method}_curves": (f"cifar_{method}", {"validate_on_test": True})
       for method in ("lstm_full", "r", "p")},
    **{f"figure6/cifar_r_{name}": ("cifar_r", change) for name, change in ABLATIONS.items()},
}  # fmt: skip
NO_AUXILIARY = ("lstm", "irnn", "urnn", "transformer", "tdmca")


def read(path):
    """The configuration of a flagfile, parsed here without absl."""
    return ExperimentConfig(**read_values(path))


def read_values(path):
    types = {field.name: field for field in dataclasses.fields(ExperimentConfig)}
    values = {}
    for line in path.read_text().splitlines():
        if line.startswith("--"):
            name, value = line[2:].split("=")
            if name == "flagfile":
                values.update(read_values(path.parent / value))
                continue
            default = types[name].default
            if value in ("true", "false"):
                values[name] = value == "true"
            elif name == "image_size" or isinstance(default, int) and value != "full":
                values[name] = int(value)
            elif name == "clip_norm" or isinstance(default, float):
                values[name] = float(value)
            else:
                values[name] = value
    return values


def name_of(path):
    """The name by which `--flagfile` finds a flagfile of the package."""
    return str(path.relative_to(ROOT / "configs").with_suffix(""))


def read_by(method, **values):
    """Those of the values that a method reads."""
    return {name: value for name, value in values.items() if name not in unread(method)}


def test_every_flagfile_asked_for_is_there():
    names = {name_of(path) for path in FLAGFILES}
    others = {*(f"table5/cifar_r_{cell}" for cell in SEGMENTS), "dogs_transformer"}
    assert {*PAPER, *others, *DIGITS, *DOGS, *DBPEDIA, *BASELINES, *VARIANTS} == names


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_change_one_thing(name):
    """Figures 4 to 6, and the second column of Table 5."""
    base, change = VARIANTS[name]
    configs = ROOT / "configs"
    assert read(configs / f"{name}.cfg") == dataclasses.replace(
        read(configs / f"{base}.cfg"), **change
    )


def test_segments_of_table_5():
    for cell in SEGMENTS:
        config = read(ROOT / "configs" / "table5" / f"cifar_r_{cell}.cfg")
        assert f"{config.num_anchors}x{config.segment_length}" == cell
        assert config.auxiliary_truncation == config.segment_length
        same = dict(num_anchors=1, segment_length=600, auxiliary_truncation=300)
        one = read(ROOT / "configs" / "figure4" / "cifar_r_1.cfg")
        assert dataclasses.replace(config, **same) == one


@pytest.mark.parametrize("path", FLAGFILES, ids=name_of)
def test_every_flagfile_parses_and_builds(path):
    flags.expand_flagfiles([f"--flagfile={path}"])
    text = path.read_text()
    assert f"python train.py --flagfile=configs/{name_of(path)}.cfg" in text
    config = read(path)
    model = factory.build(config, *TASKS[config.task])
    assert len(model.auxiliary) == {**dict.fromkeys(NO_AUXILIARY, 0), "rp": 2}.get(config.method, 1)


@pytest.mark.parametrize("path", [p for p in FLAGFILES if p.stem in PAPER], ids=lambda p: p.stem)
def test_flagfiles_of_the_paper_have_its_settings(path):
    """Section 4.1; names and truncations of Table 2."""
    config, default = read(path), ExperimentConfig()
    truncation = "full" if path.stem.endswith("_full") else 300
    assert config.supervised_truncation == truncation
    assert config.method == "lstm" or config.auxiliary_truncation == truncation
    assert path.stem.split("_")[1] == config.method
    same = {"task": None, "method": None, "supervised_truncation": None,
            "auxiliary_truncation": None}  # fmt: skip
    for field in dataclasses.fields(ExperimentConfig):
        if field.name not in same:
            assert getattr(config, field.name) == getattr(default, field.name), field.name
    paper = [default.units, default.embedding_units, default.classifier_units]
    paper += [default.num_anchors, default.segment_length, default.sampling_decay_steps]
    paper += [default.pretrain_epochs, default.epochs, default.halve_epochs]
    paper += [default.batch_size, default.learning_rate]
    assert paper == [128, 128, 256, 1, 600, 100_000, 100, 1000, 300, 128, 0.001]


@pytest.mark.parametrize("name", [*DOGS, *DBPEDIA])
def test_flagfiles_of_long_images_and_text_have_the_papers_settings(name):
    """Sections 4.2.2 and 4.4."""
    config, default = read(ROOT / "configs" / f"{name}.cfg"), ExperimentConfig()
    for field in ("units", "embedding_units", "classifier_units", "decoder_units", "batch_size",
                  "learning_rate", "halve_epochs", "sampling_decay_steps"):  # fmt: skip
        assert getattr(config, field) == getattr(default, field), field
    dogs = config.task == "stanford_dogs"
    truncation = "full" if name.endswith("lstm_full") else 300 if dogs else 100
    assert config.supervised_truncation == truncation
    assert config.epochs == (100 if dogs else 1000)
    if config.method != "lstm":
        assert config.pretrain_epochs == (20 if dogs else 100)
        assert config.joint_training is dogs
    if config.method in ("r", "p"):
        segments = {"r_20x30": (20, 30), "r_20x15": (20, 15)}.get(name.split("_", 1)[1])
        assert config.auxiliary_truncation == {20: config.segment_length}.get(
            config.num_anchors, truncation
        )
        assert (config.num_anchors, config.segment_length) == (
            segments or ((1, 600) if dogs else (1, 300))
        )


@pytest.mark.parametrize("name", [*BASELINES, "dogs_transformer"])
def test_flagfiles_of_baselines_have_their_settings(name):
    """Le et al. 2015, Arjovsky et al. 2016, tensor2tensor's transformer_tiny, Liu et al. 2018."""
    config = read(ROOT / "configs" / f"{name}.cfg")
    bare = (0, 0, 0.0, "full")  # tokens go in as they are, one dense layer comes behind
    network = (config.embedding_units, config.classifier_units, config.drop_rate,
               config.supervised_truncation)  # fmt: skip
    if config.method == "irnn":
        assert network == bare and (config.units, config.irnn_stddev) == (100, 0.001)
        assert (config.optimizer, config.clip_norm, config.batch_size) == ("sgd", 1.0, 16)
    elif config.method == "urnn":
        assert network == bare and config.units == 512
        assert (config.optimizer, config.learning_rate, config.batch_size) == ("rmsprop", 1e-4, 50)
    else:
        tdmca = config.method == "tdmca"
        assert (config.units, config.embedding_units, config.classifier_units) == (128, 128, 256)
        assert (config.transformer_layers, config.intermediate_dim) == (
            (5, 128) if tdmca else (2, 512)
        )
        assert config.feed_forward == ("separable" if tdmca else "dense")
        assert (config.num_heads, config.transformer_drop_rate, config.drop_rate) == (4, 0.1, 0.5)
        assert (config.attention_block, config.attention_margin, config.compression) == (
            256,
            128,
            3,
        )
        assert (config.optimizer, config.warmup_steps) == ("adam", 8000)
        assert config.learning_rate == pytest.approx(
            2 / (128 * config.warmup_steps) ** 0.5, rel=0.02
        )


def test_one_value_keeps_its_name_all_the_way():
    config = ExperimentConfig(segment_length=17, sampling_decay_steps=5, drop_per="batch")
    model = factory.build(config, time=64, features=1, classes=10)
    task = model.auxiliary[0]
    assert task.segment_length == task.sampler.segment_length == 17
    assert task.get_config()["segment_length"] == 17
    assert model.sampling_decay_steps == model.get_config()["sampling_decay_steps"] == 5
    config = ExperimentConfig(feedback="argmax", decoder_head="dense", segment_length=5)
    task = factory.build(config, None, None, classes=3, vocabulary_size=7).auxiliary[0]
    assert task.decoder.feedback == "argmax" and task.decoder.readout.hidden is None
    assert model.get_config()["drop_per"] == model.auxiliary[0].get_config()["drop_per"] == "batch"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(units=1.5), "`units` must be an integer of at least 1. Received: units=1.5"),
        (dict(units=True), "`units` must be an integer"),
        (dict(units="8"), "`units` must be an integer"),
        (dict(supervised_truncation=-1), "`supervised_truncation` must be .* at least 0"),
        (dict(supervised_truncation="all"), "`supervised_truncation` must be .* one of full"),
        (dict(auxiliary_truncation=2.0), "`auxiliary_truncation` must be an integer"),
        (dict(method="q"), "`method` must be one of lstm, r, p, rp"),
        (dict(validation_fraction=1.0), "`validation_fraction` must be below 1"),
        (dict(drop_rate=1.0), "`drop_rate` must be below 1"),
        (dict(learning_rate="fast"), "`learning_rate` must be a number"),
        (dict(download=1), "`download` must be true or false"),
        (dict(learning_rate=0.0), "`learning_rate` must be positive and finite"),
        (dict(learning_rate=float("nan")), "`learning_rate` must be positive and finite"),
        (dict(clip_norm=0.0), "`clip_norm` must be positive and finite"),
        (dict(bucket_lengths="64,64"), "`bucket_lengths` must be increasing positive integers"),
        (dict(bucket_lengths="64,x"), "`bucket_lengths` must be .*Received: .*'64,x'"),
        (dict(method="r", pretrain_epochs=0, joint_training=False), "`method` must be lstm to"),
        (dict(method="lm", pretrain_steps=0, auxiliary_weight=0.0), "`method` must be lstm to"),
        (dict(workdir=""), "`workdir` must not be empty"),
        (dict(pretrained=""), "`pretrained` must not be empty"),
        (dict(seed=2**32), "`seed` must be below 2\\*\\*32. Received: seed=4294967296"),
        (dict(test_examples=0), "`test_examples` must be an integer of at least 1"),
        (dict(transformer_drop_rate=1.0), "`transformer_drop_rate` must be below 1"),
        (dict(irnn_stddev=0.0), "`irnn_stddev` must be positive and finite"),
        (dict(optimizer="adagrad"), "`optimizer` must be one of rmsprop, sgd, adam"),
        (dict(num_anchors=0), "`num_anchors` must be an integer of at least 1"),
        (dict(validate_on_test=True, validation_fraction=0.1), "`validate_on_test` must be left"),
        (dict(method="sa", decoder_truncation=5), "`decoder_truncation` must be left out"),
        (
            dict(method="lstm", placement="past"),
            "`placement` must be left out with method='lstm', which does not read it; r, rp do",
        ),
        (dict(method="transformer", compression=2), "`compression` must be left out"),
        (dict(method="p", decoder_layers=3), "`decoder_layers` must be left out"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        ExperimentConfig(**values)


def test_characters_without_an_embedding_are_named():
    with pytest.raises(ValueError, match="`embedding_units` must be at least 1 for characters"):
        factory.build(ExperimentConfig(embedding_units=0), None, None, classes=3, vocabulary_size=7)


def test_segment_longer_than_the_sequence_is_named():
    with pytest.raises(ValueError, match="`segment_length` must be smaller"):
        factory.build(ExperimentConfig(segment_length=64), time=64, features=1, classes=10)
    past = ExperimentConfig(segment_length=63, placement="past")  # and the anchor's token
    with pytest.raises(ValueError, match="needs 65 of them. Received: segment_length=63"):
        factory.build(past, time=64, features=1, classes=10)


@pytest.mark.parametrize(
    "line", ["units=64", "--units 64", "--task='digits'", '--task="digits"', "--units=6 # small"]
)
def test_flagfile_lines_that_absl_would_misread_are_refused(line, tmp_path):
    path = tmp_path / "bad.cfg"
    path.write_text(f"# a comment\n\n--seed=1\n{line}\n")
    with pytest.raises(ValueError, match="bad.cfg, line 4: expected `--name=value`"):
        flags.expand_flagfiles([f"--flagfile={path}"])
    with pytest.raises(ValueError, match="bad.cfg, line 4: expected `--name=value`"):
        flags.expand_flagfiles(["--seed=1", "--flagfile", str(path)])


def test_a_flagfile_may_begin_with_the_mark_of_windows(tmp_path):
    path = tmp_path / "marked.cfg"
    path.write_text("--units=64\n", encoding="utf-8-sig")
    assert flags.expand_flagfiles([f"--flagfile={path}"]) == ["--units=64"]


def test_differences_leave_out_places():
    one = ExperimentConfig(workdir="a", data_dir="x")
    other = ExperimentConfig(workdir="b", seed=3)
    assert one.differences(other.flagfile()) == (["--seed=3"], ["--seed=0"])
    assert one.differences(one.flagfile()) == ([], [])


def test_another_training_set_is_another_configuration():
    one = ExperimentConfig(task="stanford_dogs", manual_dir="ilsvrc")
    other = ExperimentConfig(task="stanford_dogs")
    assert one.differences(other.flagfile()) == ([], ["--manual_dir=ilsvrc"])


def train(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "train.py", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_help_lists_every_flag_without_importing_tensorflow():
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\ntry:\n runpy.run_path('train.py', "
    )
    code += "run_name='__main__')\nexcept SystemExit:\n print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("False\n")
    for field in dataclasses.fields(ExperimentConfig):
        assert f"--{field.name}" in done.stdout or f"--[no]{field.name}" in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--segment_lenght=3", "'segment_lenght'. Did you mean: segment_length"),
        ("--units=1.5", "--units=1.5"),
        ("--supervised_truncation=2.5", "--supervised_truncation=2.5"),
        ("--supervised_truncation=-1", "`supervised_truncation` must be"),
        ("--method=x", "--method=x"),
        ("--noreverse=3", "error: "),
        ("stray", "Expected flags only, such as --flagfile=FILE. Received: stray"),
    ],
)  # fmt: skip
def test_bad_flags_are_named_and_write_nothing(flag, message, tmp_path):
    done = train(flag, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (
            AuxiliaryClassifier,
            ("supervised_truncation", "classifier_units", "drop_rate", "auxiliary_weight"),
        ),
        (
            TransformerClassifier,
            ("classifier_units", "drop_rate", ("input_drop_rate", "transformer_drop_rate")),
        ),
        *[
            (
                loss,
                (
                    "num_anchors", "segment_length", ("truncation", "auxiliary_truncation"),
                    ("hidden_units", "classifier_units"), "drop_rate", own,
                ),
            )
            for loss, own in ((Reconstruction, "reverse"), (Prediction, "structure"))
        ],
    ],
)  # fmt: skip
def test_layers_and_flags_have_the_same_defaults(layer, arguments):
    parameters = inspect.signature(layer).parameters
    for argument in arguments:  # named as their flag, or beside it
        name, flag = argument if isinstance(argument, tuple) else (argument, argument)
        assert parameters[name].default == getattr(ExperimentConfig(), flag), name
