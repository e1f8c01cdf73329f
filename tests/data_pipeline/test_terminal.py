import errno
import os
import signal
import subprocess
import sys

import pytest
import rich.table

from data_pipeline import terminal
from data_pipeline.errors import InputError

NAME = "a\x1b[31m\u202e\udcc8\x07.jpg"
SHOWN = r"a\x1b[31m\u202e\xc8\x07.jpg"
PROGRAM = """
import pathlib, sys
from data_pipeline import terminal

def work():
    terminal.say("ü \\udcc8 \\x1b[2J", "second")
    print("third", "\\N{CHECK MARK}")
    pathlib.Path(sys.argv[1]).write_text("written")
    return 0

sys.exit(terminal.run("program", work))
"""


def test_what_a_terminal_would_obey_is_shown():
    assert terminal.visible(NAME) == SHOWN
    assert terminal.visible("line\n\tline") == "line\n\tline"
    assert terminal.visible_name("a\nb\tc\rd") == r"a\nb\tc\rd"
    assert terminal.visible("行人 ü ç") == "行人 ü ç"


def test_lines_and_tables_are_said_as_they_are(capsys):
    table = rich.table.Table(title="[/b] :smile: [link=x]")
    table.add_column("[bold]", no_wrap=True)
    table.add_row("[red]row")
    terminal.say("[b]line[/c] :cat:", NAME, table)
    out = capsys.readouterr().out
    assert f"[b]line[/c] :cat:\n{SHOWN}\n" in out
    assert all(words in out for words in ("[/b] :smile: [link=x]", "[bold]", "[red]row"))


def test_a_message_is_one_and_ends_with_status_2(capsys):
    def work():
        raise InputError(f"no {NAME}")

    assert terminal.run("program", work) == 2
    assert capsys.readouterr() == ("", f"program: no {SHOWN}\n")


@pytest.mark.parametrize(("code", "status"), [(0, 0), (None, 0), (2, 2)])
def test_the_end_of_a_help_is_a_status(code, status):
    assert terminal.run("program", lambda: sys.exit(code)) == status


def program(tmp_path, stdout, **environment):
    """Status, what was said on the standard error, and what was written to the file."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "file")],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        check=False,
    )
    return done.returncode, done.stderr.decode(), (tmp_path / "file").read_text()


def test_a_pipe_that_is_closed_ends_quietly_with_the_work_done(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    assert program(tmp_path, writing) == (0, "", "written")
    os.close(writing)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_one_message_after_the_work(tmp_path):
    with open("/dev/full", "w") as full:
        status, said, written = program(tmp_path, full)
    assert (status, written) == (2, "written")
    assert said.startswith("program: cannot write the standard output: No space left on device")
    assert said.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict", "latin-1"])
def test_what_an_encoding_lacks_is_escaped(tmp_path, encoding):
    with open(tmp_path / "out", "wb") as out:
        assert program(tmp_path, out, PYTHONIOENCODING=encoding) == (0, "", "written")
    said = (tmp_path / "out").read_bytes().decode(encoding.partition(":")[0])
    check = "\N{CHECK MARK}" if "utf" in encoding else r"\u2713"
    first = r"\xfc" if encoding == "ascii" else "ü"
    assert said == first + r" \xc8 \x1b[2J" + f"\nsecond\nthird {check}\n"


def test_an_output_that_was_never_open_is_no_fault(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal.run("program", lambda: terminal.say("lost") or 0) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line(capsys, number, status):
    assert terminal.run("program", lambda: signal.raise_signal(number) or 0) == status
    assert capsys.readouterr().err == f"program: stopped by {signal.Signals(number).name}\n"


def test_a_file_that_the_system_refuses_is_no_traceback(capsys):
    def work():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a/b.txt")

    assert terminal.run("program", work) == 2
    said = capsys.readouterr().err
    assert said.startswith("program: cannot read a/b.txt: Permission denied; give this user")
    assert len(said.splitlines()) == 1
    with pytest.raises(OSError, match="nowhere"):  # of no file: a fault of the program
        terminal.run("program", lambda: (_ for _ in ()).throw(OSError("nowhere")))
