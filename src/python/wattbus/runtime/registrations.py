"""The Python classes of a settings file by the names under which IRIS knows them.

``CLASSES`` binds a name to a class, to a module, or to a description of where a class, a package or a folder lies; a
module, package, file or folder binds each component in it as iop does (``iop.migration.utils``): key, module and class
with dots between them, without underscores. A name that nothing binds may still be iop's own for a class:
``Python.<module>.<class>``. Nothing is imported before an item asks for it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import iop

from wattbus.errors import BadSettings, nearest, unknown_name_sentence
from wattbus.runtime.loading import Project

#: The proxies that ``%module`` and ``%classname`` make any class of.
GENERIC_PROXIES = frozenset(
    {
        "IOP.BusinessOperation", "IOP.BusinessProcess", "IOP.BusinessService", "IOP.InboundAdapter",
        "IOP.OutboundAdapter", "Grongier.PEX.BusinessOperation", "Grongier.PEX.BusinessProcess",
        "Grongier.PEX.BusinessService",
    }
)  # fmt: skip
_COMPONENTS = (
    iop.BusinessOperation, iop.BusinessProcess, iop.BusinessService, iop.DuplexOperation, iop.DuplexProcess,
    iop.DuplexService, iop.InboundAdapter, iop.OutboundAdapter,
)  # fmt: skip
_BASES = {base.__name__ for base in _COMPONENTS} | {"PollingBusinessService"}


class Registrations:
    """What ``CLASSES`` of one settings file binds."""

    def __init__(self, project: Project, classes: Any) -> None:
        self._project = project
        self._bound: dict[str, Callable[[], type]] = {}
        self.messages: dict[str, type] = {}  # PersistentMessage classes by their IRIS names
        self.notes: list[str] = []
        if classes is None:
            return
        if not isinstance(classes, Mapping):
            raise BadSettings(
                f"{project.file}: CLASSES is a {type(classes).__name__}: make it a dictionary, "
                '{"Python.MyOperation": MyOperation}.'
            )
        for name, value in classes.items():
            self._bind(str(name), value)

    @property
    def names(self) -> list[str]:
        """Return the bound names."""
        return sorted(self._bound)

    def resolve(self, name: str, settings: Mapping[str, Any] | None = None) -> type | None:
        """Return the Python class that IRIS knows as ``name``, or None where it is ObjectScript."""
        settings = settings or {}
        module, classname = settings.get("%module"), settings.get("%classname")
        if name in GENERIC_PROXIES and module and classname:
            for folder in str(settings.get("%classpaths") or "").split("|"):
                if folder.strip():
                    self._project.add_root(self._folder(folder.strip(), name))
            return self._class(str(module), str(classname), f"class {name!r}")
        if name in self._bound:
            return self._bound[name]()
        return self._by_own_name(name)

    def describe(self, value: Mapping[str, Any], where: str) -> type:
        """Return the class that ``{"path", "module", "class"}`` describes."""
        if not {"module", "class"} <= value.keys():
            raise BadSettings(f'{where} is {dict(value)!r}: {{"path", "module", "class"}} are needed.')
        if value.get("path"):
            self._project.add_root(self._folder(str(value["path"]), where))
        return self._class(str(value["module"]), str(value["class"]), where)

    # -- CLASSES ------------------------------------------------------------------------------------------------

    def _bind(self, name: str, value: Any) -> None:
        where = f"CLASSES[{name!r}]"
        if isinstance(value, type):
            self._bind_class(name, value, where)
        elif isinstance(value, ModuleType):
            for cls in components_in(value):
                self._bound[proxy_name(name, value.__name__, cls.__name__)] = _always(cls)
                self._bound.setdefault(f"{name}.{cls.__name__}", _always(cls))
        elif isinstance(value, Mapping) and {"module", "class"} <= value.keys():
            self._bound[name] = lambda: self.describe(value, where)
        elif isinstance(value, Mapping) and value.get("path"):
            folder = self._folder(str(value["path"]), where)
            if value.get("package"):
                self._bind_folder(name, folder / str(value["package"]), where)
            elif value.get("file"):
                self._bind_file(name, folder / str(value["file"]))
            else:
                self._bind_folder(name, folder, where)
        elif isinstance(value, str) and value:
            self._bind_text(name, value, where)
        else:
            raise BadSettings(
                f"{self._project.file}: {where} is {value!r}: give a class, a module, "
                '{"path", "module", "class"}, {"path", "package"}, {"path", "file"} or {"path"}.'
            )

    def _bind_class(self, name: str, cls: type, where: str) -> None:
        if issubclass(cls, iop.PersistentMessage):
            self.messages[name] = cls
        elif issubclass(cls, _COMPONENTS):
            self._bound[name] = _always(cls)
        elif issubclass(cls, iop.Message | iop.PydanticMessage):
            self.notes.append(
                f"{where} is the message {cls.__name__}, which needs no registration: take it out, or put it into "
                "SCHEMAS; `iop --migrate` refuses it."
            )
        else:
            self._bound[name] = _always(cls)  # an item that uses it says what is wrong with it

    def _bind_text(self, name: str, text: str, where: str) -> None:
        """Bind what a text names: a folder, a module or a class in it."""
        folder = Path(self._project.folder, text)
        if folder.is_dir() and "." not in text:
            self._bind_folder(name, folder, where)
            return
        module, _, classname = text.rpartition(".")
        if module and classname[:1].isupper():
            self._bound[name] = lambda: self._class(module, classname, where)
        else:
            self._bind(name, self._module(text, where))

    def _bind_folder(self, name: str, folder: Path, where: str) -> None:
        if not folder.is_dir():
            raise BadSettings(f"{self._project.file}: {where}: there is no folder {folder}: mend its path.")
        for file in sorted(folder.glob("*.py")):
            self._bind_file(name, file)

    def _bind_file(self, name: str, file: Path) -> None:
        """Bind the components of a file, as they stand in its text: as iop does, without importing it."""
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError) as error:
            self.notes.append(f"CLASSES[{name!r}]: {file} cannot be read: {error}")
            return
        module = self._project.file.stem if file.resolve() == self._project.file.resolve() else file.stem
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and _BASES & {
                ast.unparse(base).rpartition(".")[2] for base in node.bases
            }:
                self._bound[proxy_name(name, file.stem, node.name)] = self._later(
                    file.parent, module, node.name
                )

    def _later(self, folder: Path, module: str, classname: str) -> Callable[[], type]:
        def find() -> type:
            self._project.add_root(folder)
            return self._class(module, classname, f"{classname} in {folder / module}.py")

        return find

    # -- finding ------------------------------------------------------------------------------------------------

    def _folder(self, text: str, where: str) -> Path:
        """Return a folder, relative to the settings file or to where the command runs; a container's falls back."""
        given = Path(os.path.expanduser(text))
        for folder in (given,) if given.is_absolute() else (self._project.folder / given, Path.cwd() / given):
            if folder.is_dir():
                return Path(os.path.normpath(folder))
        if not given.is_absolute():
            raise BadSettings(
                f"{self._project.file}: {where}: there is no folder {text!r} beside the settings file, nor in "
                f"{Path.cwd()}."
            )
        here = self._in_place_of(given)
        self.notes.append(f"{where}: there is no {text} on this machine; {here} is looked into instead.")
        return here

    def _in_place_of(self, given: Path) -> Path:
        """Return the folder that lies here as ``given`` does in the container that it is written for."""
        folder, parts = self._project.folder, given.parts[1:]
        below = [folder.joinpath(*parts[start:]) for start in range(len(parts))]
        above = [parent for parent in (folder, *folder.parents) if parts and parent.name == parts[-1]]
        return next((place for place in (*below, *above) if place.is_dir()), folder)

    def _class(self, module: str, classname: str, where: str) -> type:
        found = self._module(module, where)
        cls = getattr(found, classname, None)
        if not isinstance(cls, type):
            known = [cls.__name__ for cls in components_in(found)]
            sentence = unknown_name_sentence("class", classname, known)
            raise BadSettings(f"{self._project.file}: {where}: {module} has an {sentence}")
        return cls

    def _module(self, name: str, where: str) -> ModuleType:
        name = name.removesuffix(".py")
        if name == self._project.file.stem:
            return self._project.settings
        try:
            return self._project.module(name)
        except ModuleNotFoundError as error:
            beside = [file.stem for root in self._project.roots for file in Path(root).glob("*.py")]
            close = nearest(name, beside)
            cure = (
                f"did you mean {close!r}?"
                if close and close != name
                else f"looked in {', '.join(self._project.roots)}."
            )
            raise BadSettings(f"{self._project.file}: {where}: {error}: {cure}") from error
        except Exception as error:  # a module of the user's: whatever it raises is said
            raise BadSettings(
                f"{self._project.file}: {where}: {name} cannot be imported: {type(error).__name__}: {error}."
            ) from error

    def _by_own_name(self, name: str) -> type | None:
        """Return the class whose name iop itself makes ``name``."""
        start, _, rest = name.partition(".")
        for module in list(self._project.modules.values()):
            for cls in components_in(module):
                if proxy_name("Python", cls.__module__, cls.__name__) == name:
                    return cls
        module_name, _, classname = rest.rpartition(".")
        if start == "Python" and module_name and self._project.owns(module_name):
            return self._class(module_name, classname, f"class {name!r}")
        return None


def components_in(module: ModuleType) -> Iterator[type]:
    """Yield the component and adapter classes that a module defines."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, _COMPONENTS) and value.__module__ == module.__name__:
            yield value


def proxy_name(prefix: str, module: str, classname: str) -> str:
    """Return the name that iop gives to the proxy of a Python class."""
    return f"{prefix}.{module}.{classname}".replace("_", "")


def _always(cls: type) -> Callable[[], type]:
    return lambda: cls
