"""The command line: both entry points, every exit status, and messages that let the user go on."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import fxprof.cli
from fxprof.commands.output import SUFFIXES
from fxprof.report import Report, TensorSpec
from fxprof.views.formats import FORMATS, render
from tests.commands import MODEL, ROOT, fails, files, run
from tests.strategies import hand_made

# -- saved reports -----------------------------------------------------------------------------


def test_saved_report(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A saved report prints the table that the report itself is."""
    assert fxprof.cli.main(["report", "report.json"]) == 0
    assert capsys.readouterr().out == f"{hand_made()}\n"


@pytest.mark.parametrize(
    "args",
    [
        ["report", "report.json", "--by", "op"],
        ["report", "report.json", "-o", "out.html"],
        ["compare", "report.json", "report.json"],
        ["check", "report.json", "--max-macs", "1G", "--baseline", "report.json"],
    ],
    ids=lambda args: " ".join(args[:1] + args[2:4]),
)
def test_saved_reports_need_no_torch(saved: Path, args: list[str]) -> None:
    """Looking at saved reports, comparing and checking them does not import torch."""
    code = f"import sys; from fxprof.cli import main; assert main({args!r}) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_chooses_the_format(saved: Path, suffix: str) -> None:
    """-o writes the format that goes with the file's suffix, as --format prints it."""
    assert fxprof.cli.main(["report", "report.json", "-o", f"a.b{suffix}" if suffix else "out"]) == 0
    written = Path(f"a.b{suffix}" if suffix else "out").read_text(encoding="utf-8")
    assert written == render(Report.from_dict(hand_made().to_dict()), SUFFIXES[suffix]) + "\n"
    assert FORMATS[SUFFIXES[suffix]].suffix in SUFFIXES


def test_both_entry_points(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``main([...])`` and ``python -m fxprof`` print the same and return the same."""
    for args in (["report", "report.json", "--top", "2"], ["report", "report.json", "--strict"], ["report", "no.json"]):
        status = fxprof.cli.main(args)
        out, err = capsys.readouterr()
        done = run(*args)
        assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


@pytest.mark.parametrize("by", ["module", "type", "op", "node"])
def test_options_reach_the_table(saved: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
    """--by, --top and --sort change the listing."""
    from fxprof.views.table import render

    assert fxprof.cli.main(["report", "report.json", "--by", by, "--top", "1", "--sort", "params"]) == 0
    assert capsys.readouterr().out == render(hand_made(), by=by, top=1, sort="params") + "\n"


def test_strict(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--strict prints the table, then names what is not exact, and exits 1."""
    assert fxprof.cli.main(["report", "report.json", "--strict"]) == 1
    out, err = capsys.readouterr()
    assert "stft" in out
    assert err.startswith("fxprof: not exact: Uncounted: stft, 1 call")


def test_output_file(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o writes what would be printed, by the file's suffix, with the usual permissions and nothing beside it."""
    assert fxprof.cli.main(["report", "report.json", "-o", "out.json"]) == 0
    assert fxprof.cli.main(["report", "report.json", "-o", "out.txt"]) == 0
    assert fxprof.cli.main(["report", "report.json", "-o", "out.dat", "--format", "json"]) == 0
    assert capsys.readouterr().out == ""
    assert Report.from_dict(json.loads(Path("out.json").read_text(encoding="utf-8"))) == hand_made()
    assert Path("out.txt").read_text(encoding="utf-8") == f"{hand_made()}\n"
    assert Path("out.dat").read_bytes() == Path("out.json").read_bytes()
    assert stat.S_IMODE(Path("out.txt").stat().st_mode) == stat.S_IMODE(saved.stat().st_mode)
    assert files() == ["my_net.py", "out.dat", "out.json", "out.txt", "report.json"]


def test_output_replaces_only_files(saved: Path) -> None:
    """A link stays a link, and a device is written to, not replaced."""
    Path("target.txt").write_text("old", encoding="utf-8")
    Path("link.txt").symlink_to("target.txt")
    assert fxprof.cli.main(["report", "report.json", "-o", "link.txt"]) == 0
    assert Path("link.txt").is_symlink()
    assert Path("target.txt").read_text(encoding="utf-8") == f"{hand_made()}\n"
    assert fxprof.cli.main(["report", "report.json", "--format", "table", "-o", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


def test_failed_write_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing fails half-way, the file is what it was."""
    Path("out.txt").write_text("old", encoding="utf-8")

    def full(self: Path, *_: object, **__: object) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert fxprof.cli.main(["report", "report.json", "-o", "out.txt"]) == 2
    assert Path("out.txt").read_text(encoding="utf-8") == "old"
    assert files() == ["my_net.py", "out.txt", "report.json"]


def test_output_keeps_permissions(saved: Path) -> None:
    """A file that is there keeps who may read it; the longest name that the system allows is fine."""
    longest = Path(f"{'a' * 251}.txt")
    longest.touch(mode=0o640)
    assert fxprof.cli.main(["report", "report.json", "-o", str(longest)]) == 0
    assert stat.S_IMODE(longest.stat().st_mode) == 0o640
    assert longest.read_text(encoding="utf-8") == f"{hand_made()}\n"


def test_output_dash_is_stdout(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``-o -`` prints, and writes no file of that name; so does /dev/stdout where it is a pipe."""
    assert fxprof.cli.main(["report", "report.json", "-o", "-"]) == 0
    assert capsys.readouterr().out == f"{hand_made()}\n"
    assert run("report", "report.json", "-o", "/dev/stdout", "--format", "table").stdout == f"{hand_made()}\n"
    assert files() == ["my_net.py", "report.json"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (">&-", "cannot print, since standard output is closed; -o FILE writes to a file"),
        (">/dev/full", "cannot print: No space left on device"),
        ("-o loop.txt", "cannot write 'loop.txt': "),
    ],
)
def test_nothing_takes_the_output(saved: Path, where: str, message: str) -> None:
    """Where nothing can be printed or written, that is one sentence and status 2."""
    Path("loop.txt").symlink_to("loop.txt")
    command = f"{sys.executable} -m fxprof report report.json {where}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fxprof: {message}") and done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(saved: Path) -> None:
    """``fxprof report … | head -0`` ends quietly."""
    command = f"{sys.executable} -m fxprof report report.json --by node; echo status $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr in ("status 141\n", "status 0\n")  # 0 where the pipe still took it


def test_names_that_stdout_cannot_encode(saved: Path) -> None:
    """A terminal without Unicode gets escapes, not an exception."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fxprof", "report", "report.json", "--top", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert "\\u2026" in done.stdout


def test_interrupt(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130 and without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Report, "from_dict", interrupted)
    assert fxprof.cli.main(["report", "report.json"]) == 130


# -- wrong use ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["report", "no.json"], "cannot read 'no.json': No such file or directory"),
        (["report", "text.json"], "'text.json' must be a report saved by fxprof: JSONDecodeError"),
        (["report", "other.json"], "a saved report must have format 1, got None"),
        (["report", "torn.json"], "a saved report must hold what Report.to_dict writes: KeyError"),
        (["report", "deep.json"], "'deep.json' must be a report saved by fxprof"),
        (["report", "report.json", "--input", "1,3"], "a saved report cannot be counted again: --input and --training"),
        (["report", "report.json", "-o", "out.xyz"], "no format goes with 'out.xyz': end it in .txt, .json, .md, .csv"),
        (["report", "report.json", "-o", "no/such/out.txt"], "cannot write 'no/such/out.txt': No such file or dir"),
        (["report", "report.json", "--by", "op", "--depth", "2"], "depth goes with --by module or --by type"),
        (["report", "resnet5"], "no torchvision model is called 'resnet5'; did you mean resnet50 or"),
        (["report", "runs/best.pth"], "'runs/best.pth' is a file of weights, and a MODEL is what builds the layers"),
        (["match", "best.pth", "resnet18"], "'best.pth' is a file of weights, and a MODEL is what builds the layers"),
        (["report", "my_net.py"], "'my_net.py' must be followed by what builds the model"),
        (["report", "nope.py:net"], "no file 'nope.py' (from MODEL 'nope.py:net')"),
        (["report", "no_such_package.x:net"], "no module 'no_such_package.x' in the working directory, its src folder"),
        (["report", ":net"], "a MODEL with a colon must be package.module:callable or path/to/file.py:callable"),
        (["report", "my_net.py:Nett"], "'my_net.py' has no 'Nett'; did you mean Net"),
        (["report", "my_net.py:number"], "my_net.py:number must be a callable or an nn.Module, got int"),
        (["report", "my_net:dictionary"], "my_net:dictionary must return an nn.Module, got dict"),
        (["report", "my_net.py:broken"], "my_net.py:broken failed: ValueError: no such width ("),
        (["report", "my_net.py:leaves"], "my_net.py:leaves failed: SystemExit: usage: train ("),
        (["report", "wrong.py:net"], "wrong.py:net failed: SyntaxError: "),
        (["report", "my_net.py:net"], "my_net.py:net has no default input: add --input, for example --input 1,3"),
    ],
)  # fmt: skip
def test_user_errors(saved: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    """A wrong argument, model or file is one sentence on stderr and status 2."""
    Path("text.json").write_text("hello", encoding="utf-8")
    Path("other.json").write_text('{"a": 1}', encoding="utf-8")
    Path("deep.json").write_text("[" * 100_000, encoding="utf-8")
    Path("wrong.py").write_text("def net(:\n", encoding="utf-8")
    torn = hand_made().to_dict()
    torn["modules"] = [entry for entry in torn["modules"] if entry["path"] != "body"]
    Path("torn.json").write_text(json.dumps(torn), encoding="utf-8")
    err = fails(capsys, *args)
    assert message in err
    assert err.count("\n") == 1


def test_a_model_without_inputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A forward that takes nothing needs no --input; there is nothing to double in it."""
    code = "from torch import nn, zeros\n\nclass Prior(nn.Linear):\n    def forward(self):\n"
    Path("prior.py").write_text(f"{code}        return super().forward(zeros(1, self.in_features))\n", encoding="utf-8")
    assert fxprof.cli.main(["report", "prior.py:Prior?in_features=3&out_features=4"]) == 0
    out = capsys.readouterr().out
    assert "no tensor inputs" in out and re.search(r"\nMACs +12 ", out)
    code = "import torch\n\ndef net():\n    made = torch.nn.Module()\n    made.forward = torch.relu\n    return made\n"
    Path("written_in_c.py").write_text(code, encoding="utf-8")
    assert "written_in_c.py:net has no default input: add --input" in fails(capsys, "report", "written_in_c.py:net")
    err = fails(capsys, "check", "prior.py:Prior?in_features=3&out_features=4", "--scaling")
    assert "scaling must find a batch, an image or a sequence among the inputs" in err


def test_errors_in_user_code_name_the_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message points at the user's line, not at torch's or fxprof's."""
    line = 1 + MODEL.split("\n").index('def broken(): raise ValueError("no such width")')
    assert f"my_net.py, line {line})" in fails(capsys, "report", "my_net.py:broken")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["reprot"], "invalid choice: 'reprot'"),
        (["report"], "the following arguments are required: MODEL"),
        (["report", "x", "--depth", "-1"], "must be a whole number, 0 or more, got '-1'"),
        (["report", "x", "--top", "many"], "must be a whole number, 0 or more, got 'many'"),
        (["report", "x", "--by", "colour"], "invalid choice: 'colour'"),
        (["report", "x", "--input", "1,3,a"], "must be sizes, with an optional name and dtype"),
        (["report", "x", "--input", ""], "must be sizes, with an optional name and dtype"),
        (["report", "x", "--input", "1,-3"], "must be sizes, with an optional name and dtype"),
        (["report", "x", "--input", "1,3:"], "must be sizes, with an optional name and dtype"),
        (["report", "x", "--input", "=1,3"], "must be sizes, with an optional name and dtype"),
        (["report", "x", "--input", "1,3:float7"], "a dtype must be a torch dtype or its name, got 'float7'"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    """A command line that cannot be read says which argument, and what it must be."""
    assert message in fails(capsys, *args)


@pytest.mark.parametrize(
    ("text", "name", "shape", "dtype"),
    [
        ("1,3,224,224", "", (1, 3, 224, 224), None),
        ("1x3x224x224", "", (1, 3, 224, 224), None),
        ("(1, 3, 8, 8)", "", (1, 3, 8, 8), None),
        ("7", "", (7,), None),
        ("ids=1,128:int64", "ids", (1, 128), "int64"),
        ("x=2x3:bfloat16", "x", (2, 3), "bfloat16"),
        ("t=1:long", "t", (1,), "int64"),
        ("0,4", "", (0, 4), None),
    ],
)
def test_input_syntax(text: str, name: str, shape: tuple[int, ...], dtype: str | None) -> None:
    """An input is sizes with an optional name and dtype."""
    args = fxprof.cli.build_parser().parse_args(["report", "x", "--input", text])
    assert args.inputs == [(name, TensorSpec(shape, dtype))]


def test_layers_are_not_cut_or_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    """The listing has a fixed order and no tree."""
    assert fxprof.cli.main(["report", "resnet18", "--by", "layer", "--top", "3"]) == 2
    assert "--by layer lists every layer in call order" in capsys.readouterr().err
