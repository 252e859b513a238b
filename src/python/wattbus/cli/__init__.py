"""The command ``wattbus``: a module for each group of its subcommands."""

from wattbus.cli.root import app, main

__all__ = ["app", "main"]
