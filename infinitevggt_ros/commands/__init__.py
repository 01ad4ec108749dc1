"""One module per subcommand of `infinitevggt`; cli.py says what a module holds."""


class CommandError(Exception):
    """A mistake the user can mend: the message names the thing and the fix."""
