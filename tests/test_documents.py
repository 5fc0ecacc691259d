"""DBpedia: the builder, the normalization of text, batches in buckets, bad files."""

import pathlib
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from aux_keras.data import dbpedia, documents, tasks, transforms
from tests.test_data import everywhere

FILES = pathlib.Path(__file__).resolve().parent / "dummy_data" / "dbpedia" / "dbpedia_csv"


class DbpediaTest(tfds.testing.DatasetBuilderTestCase):
    """TensorFlow Datasets' own test of a builder, on four rows of ours."""

    DATASET_CLASS = dbpedia.Dbpedia
    SPLITS = {"train": 3, "test": 1}
    EXAMPLE_DIR = str(FILES)
    SKIP_CHECKSUMS = True  # nothing is downloaded


@pytest.fixture
def manual_dir(tmp_path):
    shutil.copytree(FILES, tmp_path / "csv" / "dbpedia_csv")
    return tmp_path / "csv"


def write(manual_dir, split, *rows):
    (manual_dir / "dbpedia_csv" / f"{split}.csv").write_text("".join(rows), encoding="utf-8")


def load(manual_dir, **options):
    options = {"seed": 0, "bucket_lengths": (16, 32, 64), **options}
    data_dir = manual_dir.parent / "tfds"
    return tasks.load("dbpedia", data_dir=data_dir, manual_dir=manual_dir, **options)


def text(tokens):
    """Characters of ids, the slow way; anything else is a question mark in brackets."""
    return "".join(
        "(?)" if i == transforms.OTHER else transforms.ALPHABET[i - 1] for i in tokens if i
    )


def test_alphabet_is_zhangs_with_space_and_newline():
    assert len(set(transforms.ALPHABET)) == len(transforms.ALPHABET) == 26 + 10 + 32 + 2
    assert transforms.VOCABULARY == 72


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("Hello, World!", "hello, world!"),
        (r"two\nlines", "two\nlines"),
        (r"AC\NC", r"ac\nc"),
        ('a "quoted" word', 'a "quoted" word'),
        ("Übersee – 5€", "(?)bersee (?) 5(?)"),
        ("\x7f\t", "(?)(?)"),
        ("", ""),
    ],
)
def test_text_is_normalized(raw, wanted):
    assert text(everywhere(transforms.encode_text, tf.constant(raw))) == wanted


def test_titles_go_before_contents():
    assert transforms.join_text("Title", " content ").numpy() == b"Title  content"
    assert transforms.join_text("", "content").numpy() == b"content"
    assert transforms.join_text("Title", "content", use_titles=False).numpy() == b"content"


def test_rows_become_documents(manual_dir):
    task = load(manual_dir)
    assert task.sizes == {"train": 3, "validation": 0, "test": 1}
    assert (task.classes, task.vocabulary_size, task.time, task.features) == (14, 72, None, None)
    found = {text(x.numpy()): int(y) for x, y in task.splits["train"]}
    assert found == {
        'mill & sons  mill & sons makes flour, bread\nand "cakes".': 0,
        "(?)bersee is a village (pop. 4,500).": 8,
        "a book a book of 1999.": 13,
    }
    without = load(manual_dir, use_titles=False)
    assert "a book of 1999." in {text(x.numpy()) for x, _ in without.splits["train"]}


def test_an_archive_is_read_too(manual_dir, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    with tarfile.open(folder / dbpedia.ARCHIVE, "w:gz") as archive:
        archive.add(manual_dir / "dbpedia_csv", "dbpedia_csv")
    assert load(folder).sizes["train"] == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('1,"title"\n', r"train.csv, row 2: expected the 3 fields .* Received: 2 fields"),
        ('15,"t","c"\n', r"train.csv, row 2: the label must be from 1 to 14. Received: '15'"),
        ('x,"t","c"\n', r"train.csv, row 2: the label must be .* Received: 'x'"),
        ('1," ",""\n', r"train.csv, row 2: the document is empty"),
        ('1,"t","never closed\n2,u,d\n3,v,e\n', r"train.csv, row 2: "),
        ('1,"t","closed late\n2,u,d"\n', r"train.csv, row 2: a line ends inside of a quoted"),
        ('1,"t","quote" behind"\n', r"train.csv, row 2: "),
    ],
)
def test_bad_rows_are_named_and_nothing_is_prepared(manual_dir, row, message):
    write(manual_dir, "train", '1,"a","b"\n', row)
    with pytest.raises(ValueError, match=message):
        load(manual_dir)
    with pytest.raises(ValueError, match=message):  # the second try does not find half a set
        load(manual_dir)


def test_bytes_that_are_no_text_are_named(manual_dir):
    path = manual_dir / "dbpedia_csv" / "train.csv"
    path.write_bytes(b'1,"a","b"\n1,"c","\xff\xfe"\n')
    with pytest.raises(ValueError, match="train.csv, row 2: it is not UTF-8"):
        load(manual_dir)


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / dbpedia.ARCHIVE).write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="`manual_dir` has a damaged dbpedia_csv.tar.gz"):
        load(tmp_path / "csv")


def test_a_set_prepared_before_says_so(manual_dir):
    assert len(load(manual_dir).notes) == 2
    assert "--manual_dir is not read" in load(manual_dir).notes[0]


@pytest.mark.parametrize("flags", [{"image_size": 8}, {"download": True}])
def test_flags_of_images_are_refused(manual_dir, flags):
    with pytest.raises(ValueError, match="`download` and `image_size` are not for dbpedia"):
        load(manual_dir, **flags)


def test_other_class_names_are_refused(manual_dir):
    (manual_dir / "dbpedia_csv" / "classes.txt").write_text("World\nSports\n")
    with pytest.raises(ValueError, match="classes.txt must name the 14 classes"):
        load(manual_dir)


def test_missing_files_are_named(manual_dir, tmp_path):
    (manual_dir / "dbpedia_csv" / "test.csv").unlink()
    with pytest.raises(FileNotFoundError, match="`manual_dir` must hold train.csv, test.csv"):
        load(manual_dir)
    with pytest.raises(FileNotFoundError, match="`dbpedia` is not in .*--manual_dir=DIR"):
        tasks.load("dbpedia", seed=0, data_dir=tmp_path / "empty", bucket_lengths=(8,))


def test_documents_too_long_or_without_characters_are_counted(manual_dir):
    write(manual_dir, "train", '1,"t","0123456789abc"\n', '2,"only a title",""\n', '3,"","xy"\n')
    task = load(manual_dir, use_titles=False, bucket_lengths=(4, 8))
    assert task.notes[0] == (
        "dbpedia train: 3 documents, 1 of them cut to 8 characters, 1 without any left out"
    )
    assert {text(x.numpy()) for x, _ in task.splits["train"]} == {"01234567", "xy"}
    assert task.sizes["train"] == 2 and task.epoch_steps(batch_size=5) == 2


def many(manual_dir, count=50, seed=3):
    """Documents of 1 to 60 characters, each of its own."""
    rng = np.random.default_rng(0)
    rows = [f'{1 + i % 14},"","{i:02d}{"x" * rng.integers(0, 58)}"\n' for i in range(count)]
    write(manual_dir, "train", *rows)
    return load(manual_dir, seed=seed)


def batches(task, count, first_step=0):
    return [
        (x["tokens"].numpy(), x["lengths"].numpy(), y.numpy())
        for x, y in task.training(batch_size=4, first_step=first_step).take(count)
    ]


def test_batches_are_padded_to_their_bucket_and_hold_every_document_once(manual_dir):
    task = many(manual_dir)
    steps = task.epoch_steps(4)
    epochs = [batches(task, 2 * steps)[:steps], batches(task, 2 * steps)[steps:]]
    orders = []
    for epoch in epochs:
        seen = []
        for tokens, lengths, _ in epoch:
            bucket = min(b for b in (16, 32, 64) if b >= max(lengths))
            assert tokens.shape[1] == bucket and tokens.dtype == np.uint8
            assert all(bucket // 2 < n or bucket == 16 for n in lengths)
            for row, length in zip(tokens, lengths):
                assert np.all(row[:length] > 0) and np.all(row[length:] == 0)
                seen.append(text(row)[:2])
        assert sorted(seen) == [f"{i:02d}" for i in range(50)]
        orders.append(seen)
    assert orders[0] != orders[1]
    widths = [tokens.shape[1] for tokens, _, _ in epochs[0]]
    assert widths != sorted(widths)  # buckets take turns


def test_batches_resume_exactly(manual_dir):
    task = many(manual_dir)
    unbroken = batches(task, 25)
    for one, other in zip(unbroken[17:], batches(many(manual_dir), 8, first_step=17)):
        for a, b in zip(one, other):
            np.testing.assert_array_equal(a, b)


def test_evaluation_has_every_document_once(manual_dir):
    task = many(manual_dir)
    counted = sum(len(y) for _, y in task.evaluation("train"))
    assert counted == 50
    assert len(task.evaluation("train")) == len(list(task.evaluation("train"))) == 3


def test_lengths_are_of_characters_and_not_of_padding():
    tokens = tf.constant([[1, 2, 0, 0], [3, 3, 3, 3]], tf.uint8)
    (inputs, label) = documents.as_inputs(tokens, 5)
    assert inputs["lengths"].numpy().tolist() == [2, 4] and label == 5
