# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt`: the command line. Each subcommand is a module of `infinitevggt_ros.commands`.

A command module has a docstring (its description), `EXAMPLE` (a command line that works),
`configure(parser)` (its arguments) and `run(options) -> int` (the exit status). Mistakes of the
user are raised as `CommandError` and printed in one line.
"""

import argparse
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.processor import use_passive_waits

use_passive_waits()  # before a command imports torch

COMMANDS = {
    "demo": "stream a bag through the node; write trajectory, depth, map and a picture",
    "run": "stream a webcam, video, directory or bag without ROS; show it, write the results",
    "export": "make files of a run for COLMAP, nerfstudio, mesh and trajectory tools",
    "viewer": "serve a web page that shows a running node and sets its memory",
    "replay": "play a bag onto live topics, with /clock",
    "images-to-bag": "write a directory of images or a video file as a bag",
    "train": "train a network on synthetic worlds or on bags, distil it from another",
    "adapt": "adapt a network to the images of a bag, without labels",
    "evaluate": "measure pose, depth and map of a stream against the truth",
    "synthetic-bag": "render a synthetic world into a bag, with the truth beside each image",
    "export-model": "write a network as ONNX graphs and check them",
    "info": "show a checkpoint, the device and the versions in use",
}


class Parser(argparse.ArgumentParser):
    """Argument parser with defaults in its help and errors of one line."""

    def print_help(self, file: Any = None) -> None:
        """Print the help text. Raises BrokenPipeError, which argparse suppresses, if the reader has
        closed the output."""
        (file or sys.stdout).write(self.format_help())

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **settings})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to the help of an option, unless there is none or the help states it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_default = action.option_strings and action.default not in (
            *(None, argparse.SUPPRESS, "", False),
        )
        if has_default and "default" not in text and action.default != []:
            text += " (default: %(default)s)"
        return text


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    try:
        try:
            return _run(list(sys.argv[1:] if args is None else args))
        finally:
            sys.stdout.flush()  # not at exit, where what it raises cannot be caught
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    try:
        options = parser_for(arguments).parse_args(arguments)
        _ensure_log_directory()
        return int(options.run(options))
    except CommandError as error:
        print(f"infinitevggt: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not (reason := file_error(error)):
            raise
        print(f"infinitevggt: {reason}", file=sys.stderr)
        return 1


def file_error(error: Exception) -> str:
    """Return one line for an error of the file system, such as a full disk; else nothing.

    PyTorch and safetensors raise errors of their own for it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    full = os.strerror(errno.ENOSPC)
    if full in str(error):
        return full
    if "PytorchStreamWriter failed" in str(error):
        return "a checkpoint could not be written: is the disk full?"
    return ""


def _ensure_log_directory() -> None:
    """Let ROS log in the temporary directory if the user has no home to write in."""
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return
    try:
        Path(os.environ["HOME"], ".ros", "log").mkdir(parents=True, exist_ok=True)
    except (KeyError, OSError):
        user = os.getuid() if hasattr(os, "getuid") else ""
        os.environ["ROS_LOG_DIR"] = str(Path(tempfile.gettempdir(), f"ros_log_{user}"))


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows the command in `arguments`, and the names of all others."""
    parser = Parser(
        prog="infinitevggt",
        description="Live 3D perception from plain cameras, without end.",
        epilog="example: infinitevggt images-to-bag photos/ room.mcap",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name not in arguments:  # loading every command would import PyTorch and ROS for --help
            subparsers.add_parser(name, help=summary)
            continue
        command = import_module(f"infinitevggt_ros.commands.{name.replace('-', '_')}")
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=command.__doc__,
            epilog=f"example: {command.EXAMPLE}",
        )
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
