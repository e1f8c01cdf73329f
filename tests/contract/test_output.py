"""What programs say and write has one home each."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPOKEN = re.compile(r"sys\.(stdout|stderr)|rich\.console|(?<![\w.])print\(")


def lines_of(*rooms: str):
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            for line in path.read_text().splitlines():
                yield path.relative_to(ROOT).as_posix(), line


def test_only_the_terminal_speaks():
    homes = ["data_pipeline/terminal.py", "data_pipeline/read/atomic.py"]
    homes += ["luperson_jax/run/stderr_filter.py"]  # a program of its own
    for path, line in lines_of("data_pipeline", "luperson_jax"):
        assert path in homes or not SPOKEN.search(line), f"{path}: {line}; use terminal.say"
