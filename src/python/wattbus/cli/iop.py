"""The command ``wattbus iop``: the ``iop`` program as it is, on a home instead of an IRIS.

With ``IOP_URL`` the stock program drives a wattbus over HTTP, all but what it keeps for a local IRIS: applying a plan,
and rolling it back. Here it is local: its director is wattbus's, which reaches the running production.
"""

from __future__ import annotations

import importlib
import os

from wattbus.config import Config
from wattbus.errors import BadRequest


def run_iop(config: Config, arguments: list[str]) -> None:
    """Run the program; it ends the process with its own exit status."""
    # Not `import iop.cli.main as program`: the package has a function of that name.
    program = importlib.import_module("iop.cli.main")

    from wattbus.door import Director
    from wattbus.runtime.answers import Answers
    from wattbus.runtime.iris_directors import begin_directing

    director = Director(config=config)
    if not director.is_elsewhere() and {"-D", "--detach"} & set(arguments):
        raise BadRequest("no wattbus process is here that could run it: `wattbus start` starts both.")
    begin_directing(Answers(director))
    # The program asks for a director of a local IRIS by this name; a settings file must not send it elsewhere.
    vars(program)["_LocalDirector"] = lambda: director
    os.environ.pop("IOP_URL", None)
    program.main(["--force-local", *arguments])
