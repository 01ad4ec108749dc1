"""One module per subcommand of `infinitevggt`; cli.py says what a module holds."""
