"""Damages every file of a run's folder in turn; each must be named, or made again.

python -m tests.attack.damage

A file is removed, emptied, cut in half, or filled with noise; in a finished run, and in one that
was killed before its result was written.
"""

import random
import shutil
import tempfile
from pathlib import Path

from tests import test_training as runs

DAMAGES = {
    "removed": lambda content: None,
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: random.Random(0).randbytes(len(content)),
}


def outcome(workdir, unbroken, name):
    """What the same command does now."""
    try:
        runs.small_run(workdir)
        runs.assert_same_end(workdir, unbroken)
        return "equal"
    except (ValueError, OSError) as error:
        named = any(part in str(error) for part in (name, Path(name).parent.name))
        return "named" if named else f"NOT NAMED: {error}"
    except AssertionError:
        return "DIFFERENT"
    except Exception as error:
        return f"TRACEBACK: {type(error).__name__}: {error}"


def main():
    """Prints a line for each file and kind of damage, and the sum."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        unbroken, copy = Path(folder) / "unbroken", Path(folder) / "copy"
        runs.small_run(unbroken)
        names = [str(p.relative_to(unbroken)) for p in unbroken.rglob("*") if p.is_file()]
        for state in ("finished", "killed"):
            for name in sorted(names):
                for kind, damage in DAMAGES.items():
                    shutil.copytree(unbroken, copy)
                    if state == "killed":
                        (copy / "result.json").unlink()
                    if (copy / name).exists():
                        content = damage((copy / name).read_bytes())
                        (copy / name).unlink()
                        if content is not None:
                            (copy / name).write_bytes(content)
                    result = outcome(copy, unbroken, name)
                    word = result.split(":")[0]
                    found[word] = found.get(word, 0) + 1
                    print(f"{state}, {name} {kind}: {result}", flush=True)
                    shutil.rmtree(copy)
    print(", ".join(f"{word} {count}" for word, count in found.items()))


if __name__ == "__main__":
    main()
