# SPDX-License-Identifier: Apache-2.0
"""The command line itself."""

import argparse
import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from infinitevggt_ros.commands import cli, info
from infinitevggt_ros.commands.evaluate_bag import BAG_EXAMPLE, DATASET_EXAMPLE
from infinitevggt_ros.commands.evaluate_synthetic import SYNTHETIC_EXAMPLE

COMMAND = [sys.executable, "-m", "infinitevggt_ros.commands.cli"]
KINDS = {"bag": BAG_EXAMPLE, "dataset": DATASET_EXAMPLE, "synthetic": SYNTHETIC_EXAMPLE}


def help_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["evaluate", "bag", "--help"]])
def test_a_reader_that_closes_the_output_ends_the_command_silently(arguments: list[str]) -> None:
    """As `infinitevggt info | head -1` may."""
    reader, writer = os.pipe()
    os.close(reader)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, env=env
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_help_has_an_example_that_is_accepted(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    example = import_module(f"infinitevggt_ros.commands.{name.replace('-', '_')}").EXAMPLE
    text = help_text(capsys, name)
    assert f"example: {example}" in text
    program, *arguments = shlex.split(example)
    assert program == "infinitevggt"
    assert arguments[0] == name
    assert cli.parser_for(arguments).parse_args(arguments).command == name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_evaluation_has_an_example_that_is_accepted(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"example: {KINDS[kind]}" in help_text(capsys, "evaluate", kind)
    arguments = shlex.split(KINDS[kind])[1:]
    assert cli.parser_for(arguments).parse_args(arguments).kind == kind


@pytest.mark.parametrize("arguments", [[name] for name in cli.COMMANDS] + [["evaluate", "bag"]])
def test_help_states_each_default_once_and_no_empty_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(help_text(capsys, *arguments).split())
    assert "(default: None)" not in text
    assert not re.search(r"\(default: [^)]*\) \(default", text)
    assert "(default: [])" not in text


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys)
    for name, summary in cli.COMMANDS.items():
        assert name in text
        assert summary.split()[0] in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay", "--nonsense", "a.mcap"], "--nonsense"),
        (["images-to-bag", "a", "b", "--rate", "0"], "must be a rate above 0 Hz"),
        (["synthetic-bag", "a", "--size", "big"], "must be HxW"),
        (["nonsense"], "nonsense"),
        ([], "COMMAND"),
    ],
)
def test_a_bad_option_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert "--help" in line


def test_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: argparse.Namespace) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/result.mcap")

    monkeypatch.setattr(info, "run", fail)
    assert cli.main(["info"]) == 1
    assert "No space left" in cli.file_error(RuntimeError("I/O error: No space left on device"))
    assert cli.file_error(RuntimeError("a bug")) == ""
    expected = "infinitevggt: out/result.mcap: No space left on device\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_commands_run_without_a_home(home: str | None, tmp_path: Path) -> None:
    """ROS cannot make its log directory there."""
    env = {name: os.environ[name] for name in ("PATH", "ROS_DOMAIN_ID", "PYTHONPATH")}
    env |= {"TMPDIR": str(tmp_path)} | ({"HOME": home} if home else {})
    bag = tmp_path / "a.mcap"
    script = (
        "from pathlib import Path; from support.bag_making import write_image_bag; "
        f"write_image_bag(Path({str(bag)!r}), 2)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    arguments = ["replay", str(bag), "--rate", "1000", "--wait-for-subscriber", "0"]
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "sent 2 messages" in done.stdout


def test_info_is_a_table_with_the_licence_of_the_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for title in ("Software", "Machine", "Checkpoint"):
        assert f"{title}\n{'-' * len(title)}\n" in text
    rows = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)
    assert rows["licence of the weights"].strip() == "Apache-2.0"
    assert "synthetic rooms" in rows["trained on"]
