"""The Python modules of one settings file, imported from its folder and kept apart from those of every other project.

IRIS gives each job a Python of its own with the folder of ``settings.py`` in ``sys.path``; here several projects, each
with its own ``bo.py`` and ``msg.py``, may live in one process. So each :class:`Project` keeps its own modules by name,
and its modules import through an ``__import__`` of the project's own: ``from bo import X``, at the top or inside a
handler years later, finds the ``bo`` of the project that asks. Names stay as they are (``msg.Greeting``).

What is reached by name from elsewhere (``sys.modules``, ``importlib.import_module``, pickle, typing) sees one project
at a time: the one loaded last. With one project in the process that is what plain Python would do. Code that needs
another project's modules in ``sys.modules`` for a moment asks for :meth:`Project.in_place`. A module of the standard
library or of another package that a project hides is hidden from that project only.

A settings file that is loaded again imports again what has changed on disk, and what imports that; other modules,
and so the classes in them, stay the same objects. A module that plain Python imported before is taken over.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import os
import sys
import threading
import typing
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, resolve_name, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from wattbus.errors import BadSettings
from wattbus.runtime import iris
from wattbus.runtime.import_errors import import_sentence

#: Names that mean the same to everybody.
_NOT_THE_PROJECTS = frozenset({"grongier", "iop", "iris", "wattbus"})

# sys.modules belongs to the whole process, and so does this.
_lock = threading.RLock()
_holder = 0  # the thread that imports for a project now
_depth = 0
_in_front: Project | None = None  # the project whose modules are in sys.modules
_projects: dict[Path, Project] = {}


class Project:
    """The modules of one settings file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        # The folder of a link first, then that of the file it leads to.
        self.roots = list(dict.fromkeys([str(file.parent), str(file.resolve().parent)]))
        self.modules: dict[str, ModuleType] = {}
        self.texts: dict[str, bytes] = {}  # source of each module, as it was imported
        self.importer = _Importer(self)
        self._owned: dict[str, bool] = {}
        self._claimed: set[str] = set()
        self._hidden: dict[str, ModuleType] = {}  # modules of others whose names this project uses
        self._in_path: list[str] = []  # what we have put into sys.path
        self._path_before: frozenset[str] | None = None  # sys.path, while settings.py runs

    @property
    def folder(self) -> Path:
        """Return the folder of the settings file, as it was named."""
        return self.file.parent

    @property
    def settings(self) -> ModuleType:
        """Return the module of the settings file."""
        return self.modules[self.file.stem]

    def module(self, name: str) -> ModuleType:
        """Import a module of the project, or of anybody, by its full name."""
        self.importer(name)
        return self.modules.get(name) or sys.modules[name]

    def owns(self, name: str) -> bool:
        """Tell whether a module of this name would be the project's."""
        top = name.partition(".")[0]
        if top not in self._owned:
            with self.in_place():
                found = self._spec(top) is not None
            if not found and self._path_before is not None:
                return False  # settings.py may add to sys.path yet
            self._owned[top] = found
        return self._owned[top]

    def add_root(self, folder: Path) -> None:
        """Import from this folder as well."""
        text = str(folder)
        if text not in self.roots:
            with self.in_place():
                self.roots.append(text)
                sys.path.append(text)
                self._in_path.append(text)
                self._owned = {name: owned for name, owned in self._owned.items() if owned}

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have this project's modules in ``sys.modules``, alone in the process, while the block runs."""
        global _holder, _depth
        with _lock:
            before = _in_front
            _put_in_front(self)
            self._show()
            holder, _holder = _holder, threading.get_ident()
            _depth += 1
            try:
                yield
            finally:
                _depth -= 1
                _holder = holder
                if before is not None and before is not self:
                    _put_in_front(before)
                    if _depth:
                        before._show()
                elif not _depth:
                    self._settle()

    # -- importing ----------------------------------------------------------------------------------------------

    def _spec(self, top: str) -> ModuleSpec | None:
        if top in self.modules:
            return self.modules[top].__spec__
        if top in _NOT_THE_PROJECTS or (top in sys.stdlib_module_names and top in sys.modules):
            return None  # as in plain Python: what is imported already stays
        roots = [*self.roots, *map(os.path.abspath, self._added_to_path())]
        spec = PathFinder.find_spec(top, roots)
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        if spec.loader is None or spec.origin is None:
            # A folder without __init__.py is a package only where no real one has its name.
            elsewhere = PathFinder.find_spec(top, [entry for entry in sys.path if entry not in roots])
            if elsewhere is not None and elsewhere.origin is not None:
                return None
        return spec

    def _added_to_path(self) -> list[str]:
        """Return what settings.py itself has put into sys.path."""
        if self._path_before is None:
            return []
        return [
            entry
            for entry in sys.path
            if entry not in self._path_before
            and "site-packages" not in entry
            and "dist-packages" not in entry
        ]

    def claim(self, top: str) -> None:
        """Take over modules of this name that plain Python imported from our files; hide those of others."""
        if top in self._claimed:
            return
        self._claimed.add(top)
        mine = [Path(root).resolve() for root in self.roots]
        taken = []
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] != top or name in self.modules or module is None:
                continue
            file = getattr(module, "__file__", None)
            folders = [Path(file)] if file else [Path(entry) for entry in getattr(module, "__path__", [])]
            if folders and any(folders[0].resolve().is_relative_to(root) for root in mine):
                self.modules[name] = module
                taken.append(name)
                if file and file.endswith(".py"):
                    self.texts[name] = Path(file).read_bytes()
            else:
                self._hidden[name] = sys.modules.pop(name)
        for name in taken:  # what it imported is ours as well
            for used in self._imported(name):
                if self.owns(used):
                    self.claim(used.partition(".")[0])

    def find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Return the spec of a module of this project with a loader that makes it the project's."""
        spec = self._spec(name) if path is None else PathFinder.find_spec(name, path)
        if spec is None:
            return None
        if spec.submodule_search_locations is not None and (spec.loader is None or spec.origin is None):
            folder = ModuleSpec(name, _FolderLoader(self), is_package=True)
            folder.submodule_search_locations = list(spec.submodule_search_locations)
            return folder
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _SourceLoader(self, name, spec.loader.path)
            spec.cached = None
        return spec

    # -- in sys.modules -----------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Put the modules under names that others use as well."""
        for name, module in list(self.modules.items()):
            there = sys.modules.get(name)
            if there is not module:
                if there is not None:
                    self._hidden[name] = there
                sys.modules[name] = module

    def _settle(self) -> None:
        """Give others back the names they had; what only we have stays."""
        for name, module in list(self.modules.items()):
            if self._is_hiding(name) and sys.modules.get(name) is module:
                del sys.modules[name]
        sys.modules.update(self._hidden)

    def _is_hiding(self, name: str) -> bool:
        top = name.partition(".")[0]
        return top in sys.stdlib_module_names or any(other.partition(".")[0] == top for other in self._hidden)

    def _enter(self) -> None:
        # At the end: what the standard library or an installed package has is theirs, to everybody but the project.
        sys.path += self.roots
        self._in_path += self.roots
        for name, module in self.modules.items():
            if not self._is_hiding(name):
                sys.modules.setdefault(name, module)

    def _leave(self) -> None:
        self._settle()
        for name, module in self.modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        for root in self._in_path:
            if root in sys.path:  # ours is the last of its kind
                del sys.path[len(sys.path) - 1 - sys.path[::-1].index(root)]
        self._in_path = []

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Run the settings file."""
        self._path_before = frozenset(sys.path)
        name = self.file.stem
        loader = _SourceLoader(self, name, str(self.file))
        spec = spec_from_loader(name, loader, origin=str(self.file))
        assert spec is not None
        spec.has_location = True
        module = module_from_spec(spec)
        if name not in self._claimed:
            self._claimed.add(name)
            if name in sys.modules and not self._is_mine(sys.modules[name]):
                self._hidden[name] = sys.modules[name]
        sys.modules[name] = module
        with warnings.catch_warnings():
            # iop warns of an __init__ when a class is made; `check` says it with the item's name.
            warnings.filterwarnings("ignore", ".*defines or inherits __init__", RuntimeWarning)
            loader.exec_module(module)
        added = self._added_to_path()
        self.roots = list(dict.fromkeys([*self.roots, *map(os.path.abspath, added)]))
        self._in_path += added
        self._path_before = None

    def _is_mine(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and os.path.realpath(file) == os.path.realpath(self.file)

    def keep(self, before: Project) -> None:
        """Keep the modules of an earlier reading that are as they were, and that import nothing that is not."""
        changed = {name for name in before.texts if not before.is_unchanged(name)} | {self.file.stem}
        uses = {name: before.imports(name) for name in before.modules}
        before_that = -1
        while len(changed) != before_that:
            before_that = len(changed)
            changed |= {name for name, used in uses.items() if used & changed}
        kept = before.modules.keys() - changed
        self.modules = {name: before.modules[name] for name in kept}
        self.texts = {name: before.texts[name] for name in kept if name in before.texts}
        self._hidden = dict(before._hidden)
        self._claimed = {name.partition(".")[0] for name in kept}
        self.roots = list(dict.fromkeys([*self.roots, *before.roots]))
        # What a kept module imports later, it imports as a part of this reading.
        self.importer = before.importer

    def is_unchanged(self, name: str) -> bool:
        """Tell whether the file of a module still holds what was imported."""
        file = getattr(self.modules[name], "__file__", None)
        try:
            return file is not None and Path(file).read_bytes() == self.texts[name]
        except OSError:
            return False

    def imports(self, name: str) -> set[str]:
        """Return which modules of the project a module imports, and the packages it lies in."""
        used = {name, *self._imported(name)}
        return {part for each in used for part in (each, *_parents(each))} & self.modules.keys() - {name}

    def _imported(self, name: str) -> Iterator[str]:
        """Name what the source of a module imports, wherever it stands; ``a.b`` may be a name in ``a``."""
        for node in ast.walk(ast.parse(self.texts.get(name, b""))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = getattr(self.modules[name], "__package__", None) or ""
                    base = resolve_name("." * node.level + base, package)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


class _Importer:
    """The ``__import__`` of a project's modules."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.namespace = {**vars(builtins), "__import__": self}

    def __call__(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        project, package = self.project, (globals or {}).get("__package__")
        full = resolve_name("." * level + name, package) if level and package else name
        if (level and not package) or not project.owns(full):
            return builtins.__import__(name, globals, locals, fromlist, level)
        with project.in_place():
            project.claim(full.partition(".")[0])
            return builtins.__import__(name, globals, locals, fromlist, level)


class _SourceLoader(SourceFileLoader):
    """Imports one module for a project, always from its source: a cached compilation may be older by a second."""

    def __init__(self, project: Project, name: str, path: str) -> None:
        super().__init__(name, path)
        self._project = project

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_data(self.path)
        self._project.texts[fullname] = text
        code: CodeType = self.source_to_code(text, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        project, name = self._project, module.__name__
        module.__dict__["__builtins__"] = project.importer.namespace
        project.modules[name] = module
        try:
            super().exec_module(module)
        except BaseException:
            project.modules.pop(name, None)
            project.texts.pop(name, None)
            raise
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name:
                _resolve_annotations(value)


class _FolderLoader(Loader):
    """Makes a package of a folder without ``__init__.py``."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self._project.modules[module.__name__] = module


class _Finder(MetaPathFinder):
    """Finds a project's modules, for the thread that imports for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _in_front is None or _holder != threading.get_ident() or not _in_front.owns(fullname):
            return None
        return _in_front.find(fullname, path)


def load_project(settings_file: Path) -> Project:
    """Import a settings file; what is as it was since the last time is kept."""
    file = Path(os.path.abspath(settings_file))
    if file.is_dir():
        file = file / "settings.py"
    if not file.is_file():
        raise BadSettings(
            f"there is no {file}: name the settings file with --settings, or make one that exports PRODUCTIONS."
        )
    if file.stem in _NOT_THE_PROJECTS or file.suffix != ".py":
        raise BadSettings(f"{file} cannot be a settings file: call it settings.py.")
    iris.stand_in()
    with _lock:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        importlib.invalidate_caches()
        project, before, in_front = Project(file), _projects.get(file), _in_front
        if before is not None:
            project.keep(before)
        project.importer.project = project
        try:
            with project.in_place():
                project.read()
        except (Exception, SystemExit) as error:
            if before is not None:
                before.importer.project = before
            _put_in_front(in_front)
            raise BadSettings(import_sentence(project.file, project.roots, project.modules, error)) from error
        _put_in_front(project)
        _projects[file] = project
    return project


def _put_in_front(project: Project | None) -> None:
    global _in_front
    if _in_front is project:
        return
    if _in_front is not None:
        _in_front._leave()
    _in_front = project
    if project is not None:
        project._enter()


def _resolve_annotations(cls: type) -> None:
    """Turn annotations that are text into what they name, while their module is there to be asked.

    typing looks the module up in ``sys.modules`` each time, where another project's may be by then.
    """
    own = vars(cls).get("__annotations__", {})
    if not any(isinstance(value, str) for value in own.values()):
        return
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001 - a user's annotation may be anything; it stays the text it was
        return
    own.update({name: hints[name] for name in own if name in hints})


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
