"""TFDS builder of the DBpedia ontology classification set over its published csv files."""

import csv
import pathlib
import re

import tensorflow_datasets as tfds

LABELS = (
    "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder",
    "MeanOfTransportation", "Building", "NaturalPlace", "Village", "Animal", "Plant", "Album",
    "Film", "WrittenWork",
)  # fmt: skip
FILES = ("train.csv", "test.csv", "classes.txt")
ARCHIVE = "dbpedia_csv.tar.gz"


class Dbpedia(tfds.core.GeneratorBasedBuilder):
    """14 classes of Wikipedia articles: title and first paragraph (Zhang, Zhao, LeCun 2015).

    The texts are kept as they are published; `transforms.encode_text` normalizes them.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    The folder must hold the published archive {ARCHIVE}, or its files
    {", ".join(FILES)}, themselves or in a folder dbpedia_csv.
    """

    def _info(self):
        features = {
            "title": tfds.features.Text(),
            "content": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(LABELS)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("content", "label"),
            homepage="https://www.dbpedia.org",
        )

    def _split_generators(self, dl_manager):
        folder = find(dl_manager.manual_dir, dl_manager.extract)
        names = tuple((folder / "classes.txt").read_text(encoding="utf-8").split())
        if names != LABELS:
            raise ValueError(
                f"{folder / 'classes.txt'} must name the 14 classes {', '.join(LABELS)}. "
                f"Received: {', '.join(names)}"
            )
        return {name: self._generate_examples(folder / f"{name}.csv") for name in ("train", "test")}

    def _generate_examples(self, path):
        yield from read_rows(path)


def prepare(builder, manual_dir):
    """Prepares the data set from the published files in `manual_dir`.

    Raises:
        FileNotFoundError, ValueError: see `find` and `read_rows`; or a damaged archive.
        OSError: if the builder's folder cannot be written.
    """
    if not (pathlib.Path(manual_dir) / ARCHIVE).exists():
        find(manual_dir, extract=None)  # TFDS would say less
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except tfds.download.download_manager.extractor.ExtractError as error:
        raise ValueError(f"`manual_dir` has a damaged {ARCHIVE}: {error}") from error


def find(manual_dir, extract):
    """The folder that holds the three files.

    Args:
        manual_dir: `pathlib.Path` that the user named.
        extract: function of an archive's path that returns a folder.

    Raises:
        FileNotFoundError: naming what is missing.
    """
    manual_dir = pathlib.Path(manual_dir)
    for place in (manual_dir, manual_dir / "dbpedia_csv"):
        if all((place / name).exists() for name in FILES):
            return place
    if (manual_dir / ARCHIVE).exists():
        place = pathlib.Path(extract(manual_dir / ARCHIVE)) / "dbpedia_csv"
        if all((place / name).exists() for name in FILES):
            return place
    raise FileNotFoundError(
        f"`manual_dir` must hold {', '.join(FILES)}, a folder dbpedia_csv with them, or "
        f"{ARCHIVE}. Received: manual_dir={manual_dir}"
    )


def read_rows(path):
    """Rows of a csv file as `(number of the row, features)`.

    Raises:
        ValueError: naming the file and the row if it has not three fields, its label is not
            from 1 to 14, the document is empty, a quote is not closed, or it is not UTF-8.
    """
    number = 0
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            for number, row in enumerate(csv.reader(file, strict=True), start=1):
                yield number, checked_row(row, f"{path}, row {number}")
        except csv.Error as error:
            raise ValueError(f"{path}, row {number + 1}: {error}") from error
    if number == 0:
        raise ValueError(f"{path} has no row")


def checked_row(row, where):
    """Features of a row, a list of str; errors begin with `where`."""
    if len(row) != 3:
        raise ValueError(
            f"{where}: expected the 3 fields label, title, content. Received: {len(row)} fields"
        )
    label, title, content = row
    if re.search("[\ud800-\udfff]", title + content):  # what is not UTF-8 is read as these
        raise ValueError(f"{where}: it is not UTF-8")
    if not (label.isascii() and label.isdigit() and 1 <= int(label) <= len(LABELS)):
        raise ValueError(f"{where}: the label must be from 1 to {len(LABELS)}. Received: {label!r}")
    if not (title.strip() or content.strip()):
        raise ValueError(f"{where}: the document is empty")
    if "\n" in title + content:  # the published files escape them: a quote is not closed
        raise ValueError(f"{where}: a line ends inside of a quoted field")
    return {"title": title, "content": content, "label": int(label) - 1}
