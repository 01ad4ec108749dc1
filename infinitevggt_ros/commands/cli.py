# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt`: the one command line. Each subcommand is a module of `infinitevggt_ros.commands`.

A command module has a docstring (its description), `EXAMPLE` (one command line that works),
`configure(parser)` (its arguments) and `run(options) -> int` (the exit status). A user's mistake is
raised as `CommandError` and printed without a traceback.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from infinitevggt_ros.errors import CommandError

COMMANDS = {
    "demo": "replay a bag through the node; leave trajectory, depth, map and a picture",
    "viewer": "serve a web page that shows a running node and sets its memory",
    "replay": "play a ROS 2 bag onto live topics, with /clock",
    "images-to-bag": "turn a directory of images or a video file into a bag",
    "train": "train a network on synthetic worlds or on bags, distil it from another",
    "evaluate": "measure pose, depth and map of a stream against the truth",
    "synthetic-bag": "film a synthetic world into a bag, with the truth beside each image",
    "info": "show a checkpoint, the device and the versions in use",
}


def main(args: Sequence[str] | None = None) -> int:
    try:
        try:
            return _run(list(sys.argv[1:] if args is None else args))
        finally:
            sys.stdout.flush()  # not at exit, where nobody can catch what it raises
    except BrokenPipeError:  # whoever read the output, `head` say, has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    try:
        options = _parser(arguments).parse_args(arguments)
        return int(options.run(options))
    except CommandError as error:
        print(f"infinitevggt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infinitevggt",
        description="Live 3D perception from plain cameras, without end.",
        epilog="example: infinitevggt images-to-bag photos/ room.mcap",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name not in arguments:  # loading every command would import torch and ROS for --help
            subparsers.add_parser(name, help=summary)
            continue
        command = import_module(f"infinitevggt_ros.commands.{name.replace('-', '_')}")
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=command.__doc__,
            epilog=f"example: {command.EXAMPLE}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
