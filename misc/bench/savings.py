"""The savings of a home's runs: what has no sample yet is measured, then the table is printed.

    make demo
    python misc/bench/savings.py --write

The home is that of the demo, ``.wattbus`` in the checkout; ``--home`` names another. With ``--write`` the table goes
between its markers in docs/savings.md. On a machine that does nothing else: the samples are timed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from table import machine, write_block

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "savings.md"


def wattbus(home: Path, *words: str) -> str:
    """Run the command on a home and return what it printed; its errors are shown."""
    command = [sys.executable, "-m", "wattbus", *words]
    environment = {**os.environ, "WATTBUS_HOME": str(home)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Measure what has no sample, print the table, and write it when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, default=ROOT / ".wattbus")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/savings.md")
    options = parser.parse_args()

    if not options.home.is_dir():
        sys.exit(f"{options.home} is not there: run `make demo` first, or name another home with --home.")
    where = machine(options.home)
    size = ("--rows", str(options.rows), "--repeats", str(options.repeats))
    print(wattbus(options.home, "savings", "measure", "--all", *size), file=sys.stderr)
    text = f"{where}\n\n{wattbus(options.home, 'savings', '--markdown')}"
    print(text)
    if options.write:
        write_block("savings", text, PAGE)


if __name__ == "__main__":
    main()
