# SPDX-License-Identifier: Apache-2.0
"""One module per subcommand of `infinitevggt`; cli.py describes the contents of a module."""
