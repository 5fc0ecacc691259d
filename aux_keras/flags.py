"""The flags of a run, one for every field of `ExperimentConfig`, and flagfiles of them.

Like `config` this module imports neither Keras nor TensorFlow.
"""

import dataclasses
import pathlib
import sys

from absl import flags

from aux_keras import config

NESTED = 50  # flagfiles within flagfiles


class _IntegerOrWord(flags.ArgumentParser):
    """Parses `300` or `full`."""

    def __init__(self, words):
        super().__init__()
        self.words = words
        self.syntactic_help = f"{', '.join(['an integer', *words[:-1]])} or {words[-1]}"

    def parse(self, argument):
        if argument in self.words:
            return argument
        try:
            return int(argument)
        except ValueError:
            raise ValueError(f"must be {self.syntactic_help}") from None


def define_flags():
    """Defines one absl flag per field of `ExperimentConfig`, which `--help` lists."""
    makers = {int: flags.DEFINE_integer, float: flags.DEFINE_float,
              bool: flags.DEFINE_boolean, str: flags.DEFINE_string}  # fmt: skip
    for field in dataclasses.fields(config.ExperimentConfig):
        kind, _, words = config.kind_of(field)
        help, choices = field.metadata["help"], field.metadata["choices"]
        if words:
            parser, serializer = _IntegerOrWord(words), flags.ArgumentSerializer()
            flags.DEFINE(parser, field.name, field.default, help, serializer=serializer)
        elif choices:
            flags.DEFINE_enum(field.name, field.default, choices, help)
        else:
            makers[kind](field.name, field.default, help)
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[field.name])


def from_flags():
    """The `ExperimentConfig` of the parsed flags."""
    names = [field.name for field in dataclasses.fields(config.ExperimentConfig)]
    return config.ExperimentConfig(**{name: flags.FLAGS[name].value for name in names})


def parse(arguments):
    """The `ExperimentConfig` of a list of flags, whatever was parsed before.

    Raises:
        ValueError: if a flag is unknown or its value cannot be read.
    """
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    try:
        flags.FLAGS(["train.py", *expand_flagfiles(arguments)])
    except flags.Error as error:
        raise ValueError(str(error)) from error
    return from_flags()


def expand_flagfiles(arguments, within=(), local=True):
    """Arguments with the lines of every flagfile in its place.

    A flagfile is looked for beside the one that names it, or, if `local`, in the current
    directory; else it is the name of one that comes with the package, with or without `.cfg`.
    Lines are refused that absl would silently take for something else: without dashes it would
    take one for a positional argument, with quotes or a trailing comment these for a part of the
    value.

    Raises:
        ValueError: naming the file and the line.
    """
    expanded, given = [], iter(arguments)
    for argument in given:
        flag, equals, value = argument.partition("=")
        if flag not in ("-flagfile", "--flagfile"):
            expanded.append(argument)
            continue
        path = _find_flagfile(value if equals else next(given, ""), within, local)
        for number, line in enumerate(_flagfile_lines(path), start=1):
            line = line.strip()
            if not line or line.startswith(("#", "//")):
                continue
            name, _, value = line.partition("=")
            if not name.startswith("--") or " " in name or " #" in value or value[:1] in ("'", '"'):
                raise ValueError(
                    f"{path}, line {number}: expected `--name=value` without quotes or a comment "
                    f"behind it. Received: {line}"
                )
            expanded += expand_flagfiles([line], (*within, path), local)
    return expanded


def _flagfile_lines(path):
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()  # Windows marks its texts
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8: {error}") from error


def _find_flagfile(name, within, local):
    """The path of a flagfile that the last of the files `within` names."""
    here = pathlib.Path(__file__).resolve().parent
    places = [here / "configs", here.parent / "configs"]  # installed; in a checkout
    if local:
        places.insert(0, pathlib.Path())
    if within:
        places.insert(0, within[-1].parent)
    if len(within) == NESTED:
        raise ValueError(f"`--flagfile` may name files that name others {NESTED} deep: {within[0]}")
    given = pathlib.Path(name).expanduser()
    for place in places:
        for path in (place / given, place / f"{given}.cfg"):
            if path.resolve() in [file.resolve() for file in within]:
                raise ValueError(f"`--flagfile` {path} includes itself")
            if name and path.is_file():
                return path
    raise ValueError(
        f"`--flagfile` must name a file, or a flagfile of the package: {name!r} is neither"
    )
