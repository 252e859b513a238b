"""Projects as users have them: a settings file and modules beside it, in a folder of the test."""

from __future__ import annotations

import textwrap
from pathlib import Path

MESSAGES = """
from dataclasses import dataclass
from iop import Message

@dataclass
class Greeting(Message):
    text: str = ""
"""

GREETER = """
from iop import BusinessOperation
from msg import Greeting

class Greeter(BusinessOperation):
    def on_init(self):
        if not hasattr(self, "word"):
            self.word = "hello"

    def greet(self, request: Greeting) -> Greeting:
        return Greeting(f"{self.word} {request.text}")
"""


def write(folder: Path, **files: str) -> Path:
    """Write ``name="text"`` as name.py, ``package__name`` as package/name.py, and return the settings file's path."""
    for name, text in files.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return folder / "settings.py"


def greeter(folder: Path, settings: str, **files: str) -> Path:
    """Write a project with ``msg.py`` and ``bo.py`` and these settings."""
    return write(folder, **{"msg": MESSAGES, "bo": GREETER, "settings": settings, **files})


def one_item(class_name: str, rest: str = "", classes: str = "{}", head: str = "") -> str:
    """Return a settings file with one production, One.Production, and one item, G."""
    return (
        f"{head}\nCLASSES = {classes}\n"
        f"PRODUCTIONS = [{{'One.Production': {{'Item': [{{'@Name': 'G', '@ClassName': {class_name}, {rest}}}]}}}}]\n"
    )
