"""Every hyper-parameter of a run: its name, default, help and check.

This module imports neither Keras nor TensorFlow, so that `train.py --help` and a
mistyped flag answer at once. (No `from __future__ import annotations`: the types of
the fields are read.)
"""

import dataclasses
import math

FULL = "full"
# Where a run happens and what it writes when, not what it computes:
PLACES = (
    "workdir", "data_dir", "download", "checkpoint_steps", "checkpoint_minutes", "strategy",
    "worker_timeout", "local_workers", "pictures", "saved_model",
)  # fmt: skip

# Methods by what they read:
RECONSTRUCTS, PREDICTS = ("r", "rp"), ("p", "rp")
SEGMENTS = ("r", "p", "rp")
AUXILIARY = (*SEGMENTS, "lm", "sa")
RECURRENT = ("lstm", "irnn", "urnn", *AUXILIARY)
ATTENTION = ("transformer", "tdmca")


def _field(default, help, choices=None, least=None, methods=None):
    metadata = {"help": help, "choices": choices, "least": least, "methods": methods}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One run. The defaults are the paper's settings (sections 4.1 and 4.2).

    T-DMCA has others, which are in its flagfiles.

    Raises:
        ValueError: if a value is of the wrong type or out of range, naming it.
    """

    task: str = _field(
        "digits", "digits, mnist, pmnist, cifar10, stanford_dogs, dbpedia, or a TFDS image data set"
    )
    data_dir: str | None = _field(None, "TFDS folder; by default $TFDS_DATA_DIR or TFDS's own")
    download: bool = _field(False, "download the data set if it is not in data_dir")
    manual_dir: str | None = _field(
        None, "folder of dbpedia's csv files; or, for stanford_dogs, of ILSVRC-2012 training images"
    )
    image_size: int | None = _field(None, "resize images to this height and width", least=1)
    permutation: str = _field(
        "random", "order of pmnist's pixels", choices=("random", "bit_reversal")
    )
    train_examples: int | None = _field(None, "use the first N training examples", least=1)
    test_examples: int | None = _field(
        None, "use the first N test examples, for short runs", least=1
    )
    use_titles: bool = _field(True, "read dbpedia's titles before the contents")
    bucket_lengths: str = _field(
        "128,256,384,512,640,1024", "lengths to which batches of documents are padded"
    )
    validation_fraction: float = _field(0.0, "last part of the training set, held out", least=0)
    validate_on_test: bool = _field(
        False, "evaluate on the test set after every epoch, for curves of the test accuracy"
    )
    method: str = _field(
        "r", "auxiliary losses of a recurrent network (none: lstm, with any cell; reconstruction, "
        "prediction, both; language model, sequence autoencoder), or another baseline",
        choices=("lstm", "r", "p", "rp", "lm", "sa", "irnn", "urnn", "transformer", "tdmca"),
    )  # fmt: skip
    cell: str = _field(
        "lstm", "recurrent cell", choices=("lstm", "gru", "simple_rnn", "irnn", "urnn")
    )
    units: int = _field(128, "units of the main RNN; width of a Transformer", least=1)
    irnn_stddev: float = _field(
        0.001,
        "standard deviation of an iRNN's input, and with --method=irnn output, weights",
        methods=RECURRENT,
    )
    embedding_units: int = _field(128, "units of the token embedding; 0 for none", least=0)
    classifier_units: int = _field(
        256, "units of the hidden layer of the FFNs; 0 for none", least=0
    )
    decoder_units: int = _field(128, "units of the auxiliary RNNs", least=1, methods=SEGMENTS)
    decoder_layers: int = _field(2, "layers of the decoder", least=1, methods=SEGMENTS)
    decoder_head: str = _field(
        "ffn",
        "what predicts a token: two layers, or one dense layer",
        choices=("ffn", "dense"),
        methods=AUXILIARY,
    )
    drop_rate: float = _field(0.5, "DropConnect rate of the FFNs' second layer", least=0)
    drop_per: str = _field("example", "one DropConnect mask per", choices=("example", "batch"))
    num_anchors: int = _field(1, "n, anchors per sequence", least=1, methods=SEGMENTS)
    segment_length: int = _field(600, "l, predicted tokens per segment", least=1, methods=SEGMENTS)
    placement: str = _field(
        "curriculum", "where a reconstructed segment lies: at the anchor; before it; before it or "
        "at most half behind; from the first to the third of these; or anywhere",
        choices=("immediate", "past", "past_or_spill", "curriculum", "anywhere"),
        methods=RECONSTRUCTS,
    )  # fmt: skip
    placement_growth_steps: int = _field(
        100_000,
        "training steps in which placement=curriculum grows",
        least=1,
        methods=RECONSTRUCTS,
    )
    reverse: bool = _field(True, "reconstruct segments in reverse order", methods=RECONSTRUCTS)
    structure: str = _field(
        "stacked", "network of the prediction", choices=("stacked", "decoder"), methods=PREDICTS
    )
    auxiliary_truncation: int | str = _field(
        300,
        "steps of back-propagation of the auxiliary losses, or full",
        least=0,
        choices=(FULL,),
        methods=AUXILIARY,
    )
    supervised_truncation: int | str = _field(
        300,
        "steps of back-propagation of the supervised loss, or full",
        least=0,
        choices=(FULL,),
        methods=RECURRENT,
    )
    decoder_truncation: int | str = _field(
        FULL,
        "steps of back-propagation inside the decoder, or full",
        least=0,
        choices=(FULL,),
        methods=SEGMENTS,
    )
    transformer_layers: int = _field(
        2, "blocks of a Transformer or T-DMCA", least=1, methods=ATTENTION
    )
    num_heads: int = _field(4, "attention heads", least=1, methods=ATTENTION)
    intermediate_dim: int = _field(
        512, "units of the hidden layers of a Transformer", least=1, methods=ATTENTION
    )
    feed_forward: str = _field(
        "dense", "layers of a Transformer's feed-forward networks: dense, or separable "
        "convolutions of widths 3 and 31", choices=("dense", "separable"), methods=ATTENTION,
    )  # fmt: skip
    transformer_drop_rate: float = _field(
        0.1, "dropout of a Transformer", least=0, methods=ATTENTION
    )
    attention_block: int = _field(
        256, "positions per block of local attention", least=1, methods=("tdmca",)
    )
    attention_margin: int = _field(
        128, "positions that a block sees on each side", least=0, methods=("tdmca",)
    )
    compression: int = _field(3, "keys and values per compressed one", least=1, methods=("tdmca",))
    auxiliary_weight: float = _field(
        1.0, "weight of the auxiliary losses", least=0, methods=AUXILIARY
    )
    joint_training: bool = _field(
        True, "keep the auxiliary losses after pretraining", methods=AUXILIARY
    )
    sampling_decay_steps: int = _field(
        100_000,
        "training steps in which scheduled sampling falls to 0; 0: true tokens",
        least=0,
        methods=RECONSTRUCTS,
    )
    feedback: str = _field(
        "sample", "the character fed back: drawn, or the most probable",
        choices=("sample", "argmax"), methods=RECONSTRUCTS,
    )  # fmt: skip
    feedback_gradient: bool = _field(
        False, "let gradient pass through fed-back outputs", methods=RECONSTRUCTS
    )
    pretrain_epochs: int = _field(
        100, "epochs of the auxiliary losses alone", least=0, methods=AUXILIARY
    )
    pretrained: str | None = _field(
        None,
        "folder of a finished run of the same network and seed: start from its pretraining",
        methods=AUXILIARY,
    )
    epochs: int = _field(1000, "epochs of training", least=0)
    pretrain_steps: int | None = _field(
        None, "steps, instead of pretrain_epochs", least=0, methods=AUXILIARY
    )
    steps: int | None = _field(None, "steps of training, instead of epochs", least=0)
    batch_size: int = _field(128, "examples per step", least=1)
    optimizer: str = _field("rmsprop", "optimizer", choices=("rmsprop", "sgd", "adam"))
    rmsprop_epsilon: float = _field(
        1e-10, "epsilon of RMSprop, inside the root; TensorFlow 1 had 1e-10, Keras has 1e-7"
    )
    learning_rate: float = _field(
        0.001, "learning rate at the start of a phase, or after the warm-up"
    )
    halve_epochs: int = _field(300, "epochs of training until the rate is halved", least=1)
    warmup_steps: int = _field(
        0, "steps of linear warm-up, with inverse square-root decay after it; 0: halving", least=0
    )
    clip_norm: float | None = _field(None, "clip the gradient's global norm")
    dtype_policy: str = _field(
        "float32", "Keras dtype policy", choices=("float32", "mixed_float16", "mixed_bfloat16")
    )
    jit_compile: bool = _field(False, "compile the whole training step with XLA")
    memory_gap: bool = _field(True, "log the memory gap of every auxiliary loss at evaluations")
    pictures: bool = _field(
        True, "reconstructions in TensorBoard at validations; figures/ and report.html at the end"
    )
    saved_model: bool = _field(True, "write a SavedModel for serving beside model.keras")
    checkpoint_steps: int = _field(200, "steps between checkpoints", least=1)
    checkpoint_minutes: float = _field(10.0, "the most minutes between checkpoints", least=0)
    strategy: str = _field(
        "one", "where it runs: one device, all GPUs of this machine, or the workers of $TF_CONFIG",
        choices=("one", "mirrored", "multi_worker"),
    )  # fmt: skip
    worker_timeout: float = _field(300.0, "the most seconds to wait for other workers", least=1)
    local_workers: int = _field(
        0, "start so many workers on this machine, to try strategy=multi_worker", least=0
    )
    seed: int = _field(0, "seed of weights, data order and all draws", least=0)
    workdir: str | None = _field(None, "folder of the run")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        for name in (
            "learning_rate", "clip_norm", "irnn_stddev", "rmsprop_epsilon", "worker_timeout"
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"`{name}` must be positive and finite. Received: {name}={value}")
        self.buckets()
        if self.seed >= 2**32:
            raise ValueError(f"`seed` must be below 2**32. Received: seed={self.seed}")
        for name in ("validation_fraction", "drop_rate", "transformer_drop_rate"):
            value = getattr(self, name)
            if value >= 1:
                raise ValueError(f"`{name}` must be below 1. Received: {name}={value}")
        named = {"irnn", "urnn", "transformer", "tdmca"}
        if self.method in named and self.cell not in ("lstm", self.method):
            raise ValueError(
                "`cell` must be left out: `method` names the whole network. "
                f"Received: method={self.method!r}, cell={self.cell!r}"
            )
        layers, default = self.decoder_layers, type(self).decoder_layers
        if self.method == "p" and self.structure == "stacked" and layers != default:
            raise ValueError(
                "`decoder_layers` must be left out with structure='stacked', one layer. "
                f"Received: decoder_layers={layers}"
            )
        if self.local_workers and self.strategy == "mirrored":
            raise ValueError(
                "`local_workers` must be left out with strategy='mirrored'. Received: "
                f"local_workers={self.local_workers}"
            )
        if self.validate_on_test and self.validation_fraction:
            raise ValueError(
                "`validate_on_test` must be left out with a part of the training set held out. "
                f"Received: validation_fraction={self.validation_fraction}"
            )
        for name, field in unread(self.method).items():
            if (value := getattr(self, name)) != field.default:
                raise ValueError(
                    f"`{name}` must be left out with method={self.method!r}, which does not read "
                    f"it; {', '.join(field.metadata['methods'])} do. Received: {name}={value!r}"
                )
        _check_losses_are_used(self)

    def buckets(self):
        """`bucket_lengths` as a tuple of int."""
        words = self.bucket_lengths.split(",")
        lengths = [int(w) if w.isascii() and w.isdigit() else 0 for w in words]
        if lengths[0] < 1 or any(b <= a for a, b in zip(lengths, lengths[1:])):
            raise ValueError(
                "`bucket_lengths` must be increasing positive integers with commas between. "
                f"Received: bucket_lengths={self.bucket_lengths!r}"
            )
        return tuple(lengths)

    def flagfile(self):
        """The configuration as the text of a flagfile, one line per field."""
        values = dataclasses.asdict(self)
        return "".join(
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}\n"
            for name, value in values.items()
            if value is not None
        )

    def differences(self, flagfile):
        """Lines in which a saved flagfile differs from this one, places left out."""
        ours, theirs = (
            {line for line in text.splitlines() if not line.startswith(_PLACE_FLAGS)}
            for text in (self.flagfile(), flagfile)
        )
        return sorted(theirs - ours), sorted(ours - theirs)


_PLACE_FLAGS = tuple(f"--{name}=" for name in PLACES)


def unread(method):
    """Fields of `ExperimentConfig` that a method does not read, by name."""
    return {
        field.name: field
        for field in dataclasses.fields(ExperimentConfig)
        if method not in (field.metadata["methods"] or (method,))
    }


def _check_losses_are_used(config):
    steps, epochs = config.pretrain_steps, config.pretrain_epochs
    pretrained = config.pretrained or (epochs if steps is None else steps)
    joint = config.joint_training and config.auxiliary_weight
    if config.method in AUXILIARY and not pretrained and not joint:
        raise ValueError(
            "`method` must be lstm to train without auxiliary losses; for others give "
            "`pretrain_epochs`, or `joint_training` with an `auxiliary_weight`. "
            f"Received: method={config.method!r}"
        )


def kind_of(field):
    """`(type, optional, words)` of a field: words are allowed besides the type."""
    types = getattr(field.type, "__args__", (field.type,))
    optional, words = type(None) in types, ()
    types = [t for t in types if t is not type(None)]
    if types == [int, str]:
        types, words = [int], field.metadata["choices"]
    return types[0], optional, words


def _check(field, value):
    kind, optional, words = kind_of(field)
    least, choices = field.metadata["least"], field.metadata["choices"]
    if (value is None and optional) or (words and value in words):
        return
    expected = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind]
    if kind is not bool and least is not None:
        expected += f" of at least {least}"
    if words:
        expected += f", or one of {', '.join(words)}"
    accepted = (int, float) if kind is float else kind
    right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if not right or (least is not None and not value >= least):
        raise ValueError(f"`{field.name}` must be {expected}. Received: {field.name}={value!r}")
    if value == "":  # as of an unset variable of a shell
        raise ValueError(f"`{field.name}` must not be empty. Received: {field.name}=''")
    if choices and not words and value not in choices:
        raise ValueError(
            f"`{field.name}` must be one of {', '.join(choices)}. Received: {field.name}={value!r}"
        )
