"""The package as it is shipped: its locks are complete, its wheel is whole, its import is light, its recipes hold."""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import wattbus

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "python"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(line.name): line for line in map(Requirement, PROJECT["dependencies"])}
#: Declared and not imported by name: transformers' Trainer needs the one, the forms of starlette the other.
NEEDED_BY_ANOTHER = {"accelerate", "python-multipart"}
#: Imported where they are there, and done without where they are not.
OPTIONAL = {"iris", "pynvml"}
#: The CUDA build of torch brings these; the CPU build, which is what is pinned, does not.
CUDA = re.compile(r"nvidia-(?!ml-py)|cuda-|triton")
HEAVY = (
    "torch",
    "transformers",
    "codecarbon",
    "fastapi",
    "sklearn",
    "PIL",
    "pandas",
    "openvino",
    "onnxruntime",
)
NEVER_IMPORTED = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "kernels"}
LOWEST = {"torch": "2.10", "transformers": "5.3", "starlette": "0.49.1"}


def pins(file: str) -> dict[str, Requirement]:
    """Read a requirements file: each package with its requirement."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return {canonicalize_name(found.name): found for found in (Requirement(line) for line in lines if line)}


def needed(roots: dict[str, Requirement]) -> set[str]:
    """Return all packages that the roots bring along on this machine, the roots too."""
    waiting = [(name, "", extra) for name, root in roots.items() for extra in ("", *root.extras)]
    seen = set(waiting)
    while waiting:
        name, _, extra = waiting.pop()
        for line in importlib.metadata.requires(name) or ():
            found = Requirement(line)
            if found.marker is not None and not found.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *found.extras):
                entry = (canonicalize_name(found.name), "", wanted)
                if entry not in seen:
                    seen.add(entry)
                    waiting.append(entry)
    return {name for name, _, _ in seen if not CUDA.match(name)}


def product_files() -> list[Path]:
    return sorted(file for file in SOURCE.rglob("*.py") if "__pycache__" not in file.parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Name the top-level package of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def third_party() -> set[str]:
    names = {name for file in product_files() for name in imported(ast.parse(file.read_text()))}
    return names - set(sys.stdlib_module_names) - {"wattbus"} - OPTIONAL


def test_what_the_code_imports_is_declared_and_what_is_declared_is_imported() -> None:
    providers = importlib.metadata.packages_distributions()

    used = {canonicalize_name(providers[name][0]) for name in third_party()}

    assert used == set(DECLARED) - NEEDED_BY_ANOTHER


@pytest.mark.parametrize("kind", ["", "-dev", "-model", "-optimise"])
def test_every_requirement_is_pinned_to_one_version(kind: str) -> None:
    loose = [
        str(pin)
        for pin in pins(f"requirements{kind}.txt").values()
        if not re.fullmatch(r"==[\w.]+", str(pin.specifier))
    ]

    assert loose == []


def test_the_pinned_versions_lie_in_the_declared_ranges() -> None:
    run = pins("requirements.txt")

    outside = [
        f"{name}: {run[name].specifier} and {declared.specifier}"
        for name, declared in DECLARED.items()
        if not declared.specifier.contains(str(run[name].specifier).removeprefix("=="))
    ]

    assert outside == []


def test_the_run_requirements_are_complete_and_hold_nothing_for_nobody() -> None:
    assert needed(DECLARED) == set(pins("requirements.txt"))


def test_the_development_requirements_are_complete() -> None:
    run, dev = set(pins("requirements.txt")), pins("requirements-dev.txt")

    assert needed(dev) - run == set(dev)


def test_what_makes_int8_models_is_complete_pinned_in_its_ranges_and_changes_no_other_pin() -> None:
    declared = {
        canonicalize_name(line.name): line
        for line in map(Requirement, PROJECT["optional-dependencies"]["optimise"])
    }
    run, extra = pins("requirements.txt"), pins("requirements-optimise.txt")

    assert needed(declared) - set(run) == set(extra)
    for name, line in declared.items():
        assert line.specifier.contains(str(extra[name].specifier).removeprefix("=="))
    for line in map(Requirement, [one for name in extra for one in importlib.metadata.requires(name) or ()]):
        pin = run.get(canonicalize_name(line.name)) if line.marker is None else None
        assert pin is None or line.specifier.contains(str(pin.specifier).removeprefix("==")), line


def test_every_requirement_has_its_reason_beside_it() -> None:
    for file in ("requirements.txt", "requirements-dev.txt", "requirements-optimise.txt"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if "==" in line]
        assert [line for line in lines if not re.search(r"  # \w+", line)] == []


@pytest.mark.parametrize(("name", "lowest"), LOWEST.items())
def test_libraries_with_known_holes_are_new_enough(name: str, lowest: str) -> None:
    before = f"{Version(lowest).major}.{Version(lowest).minor - 1}"
    assert not DECLARED[name].specifier.contains(before)
    assert Version(importlib.metadata.version(name)) >= Version(lowest)


@pytest.mark.parametrize("module", ["wattbus", "wattbus.cli", "wattbus.door", "wattbus.operations"])
def test_importing_the_package_loads_no_heavy_library(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == ""


def test_the_process_of_the_portal_shows_its_first_page_before_a_heavy_library_is_loaded() -> None:
    heavy = [name for name in HEAVY if name != "fastapi"]
    script = f"import sys, wattbus.web.serve; print(*sorted(set({heavy}) & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == ""


def test_every_exported_name_is_there_and_an_unknown_one_is_not() -> None:
    assert all(getattr(wattbus, name) is not None for name in wattbus.__all__)
    assert set(wattbus.__all__) <= set(dir(wattbus))
    with pytest.raises(AttributeError, match="no_such_name"):
        wattbus.no_such_name  # noqa: B018


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert newest is not None
    assert wattbus.__version__ == PROJECT["version"] == newest[1]


@pytest.mark.parametrize("file", product_files(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_product_file_runs_code_that_comes_as_data(file: Path) -> None:
    tree = ast.parse(file.read_text())

    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    dotted = {ast.unparse(call.func) for call in calls if isinstance(call.func, ast.Attribute)}
    shells = [word for call in calls for word in call.keywords if word.arg == "shell"]

    assert set(imported(tree)) & NEVER_IMPORTED == set()
    assert named & {"eval", "exec"} == set()
    assert dotted & {"torch.load", "yaml.load", "os.system", "os.popen"} == set()
    assert shells == []


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_what_runs_without_the_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    sources = {str(file.relative_to(SOURCE)) for file in (SOURCE / "wattbus").rglob("*.py")}
    drawn = [
        *(SOURCE / "wattbus" / "web" / "templates").rglob("*"),
        *(SOURCE / "wattbus" / "web" / "static").rglob("*"),
    ]
    assert sources <= names
    assert {str(file.relative_to(SOURCE)) for file in drawn if file.is_file()} <= names
    assert {"wattbus/web/templates/base.html", "wattbus/web/static/vendor/htmx.min.js"} <= names
    assert {"wattbus/py.typed", "wattbus/shipped/settings.py", "wattbus/shipped/reviews.csv"} <= names
    assert [name for name in names if name.startswith(("tests", "settings"))] == []


def test_an_installed_wheel_finds_its_production_and_its_sample_rows(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "from wattbus import demo, door\n"
        "from wattbus.runtime.reading import load\n"
        "print(door.SHIPPED_SETTINGS, demo.REVIEWS, *load(door.SHIPPED_SETTINGS).items)"
    )

    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    settings, reviews, *items = done.stdout.split()
    shipped = tmp_path / "site" / "wattbus" / "shipped"
    assert (Path(settings), Path(reviews)) == (shipped / "settings.py", shipped / "reviews.csv")
    assert items == ["Python.HFOperation", "Python.MLOperation", "Python.TuningOperation"]


def test_iop_plans_the_migration_of_the_shipped_production_with_nothing_to_mend() -> None:
    plan = [sys.executable, "-m", "iop", "--migrate", str(SOURCE / "settings.py"), "--dry-run"]

    done = subprocess.run(plan, capture_output=True, text=True, check=True)

    assert "Wattbus.SustainableML" in done.stdout
    assert re.search(r"VALIDATION:\s+none", done.stdout)


def test_the_review_class_has_the_columns_of_the_sample_rows() -> None:
    text = (ROOT / "src" / "cls" / "iris" / "Review.cls").read_text()
    with (ROOT / "misc" / "data" / "reviews.csv").open(newline="") as rows:
        columns = next(csv.reader(rows))

    assert "Class iris.Review Extends %Persistent" in text
    assert re.findall(r"^Property (\w+)", text, re.MULTILINE) == columns


def test_the_installer_and_the_start_script_name_files_that_are_there() -> None:
    installer = (ROOT / "src" / "cls" / "Wattbus" / "Installer.cls").read_text()
    named = re.findall(r'root_"/([^"]+)"', installer)

    assert named == ["misc/data/reviews.csv", "src/python/settings.py"]
    assert all((ROOT / path).is_file() for path in named)
    subprocess.run(["bash", "-n", ROOT / "src" / "cls" / "start.sh"], check=True)


def test_compose_starts_the_product_and_with_its_profile_iris_on_the_same_settings() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    product, iris = compose["services"]["wattbus"], compose["services"]["iris"]

    mounted = {volume.partition(":")[0] for service in (product, iris) for volume in service["volumes"]}
    assert "profiles" not in product
    assert all(port.startswith("127.0.0.1:") for service in (product, iris) for port in service["ports"])
    assert product["environment"]["WATTBUS_HTTP_HOST"] == "0.0.0.0"
    assert product["environment"]["WATTBUS_TOKEN"].startswith("${WATTBUS_TOKEN:?")
    assert iris["profiles"] == ["iris"]
    assert iris["build"]["args"]["IRIS_IMAGE"] == "intersystemsdc/iris-community:latest"
    assert all("./src/python/settings.py" in str(service["volumes"]) for service in (product, iris))
    assert {name for name in mounted if not name.startswith(".")} == set(compose["volumes"])
    assert all((ROOT / name).exists() for name in mounted if name.startswith("."))


def test_the_container_runs_as_a_user_of_its_own_and_copies_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text().partition("AS wattbus\n")[2].splitlines()
    given = {line.lstrip("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}

    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert "USER wattbus" in lines
    assert "ENV WATTBUS_HOME=/data" in lines
    assert lines[-1] == 'CMD ["wattbus", "start", "--foreground"]'
    assert all((ROOT / name).exists() for name in copied)
    assert all(name in given or name.partition("/")[0] in given for name in copied)


def test_no_recipe_names_a_package_index_or_a_folder_of_one_machine() -> None:
    recipes = [
        *ROOT.glob("requirements*.txt"),
        *map(ROOT.joinpath, ("Makefile", "pyproject.toml", ".ci/run")),
    ]

    for recipe in [*recipes, ROOT / "Dockerfile", ROOT / "docker-compose.yml", ROOT / "README.md"]:
        text = recipe.read_text()
        assert re.findall(r"--(?:extra-)?index-url|--find-links|pypi\.org|pytorch\.org", text) == [], recipe
        assert re.findall(r"(?<![\w.])/(?:work|opt|root|tmp)/", text) == [], recipe


def test_continuous_integration_runs_every_check_and_reads_no_input() -> None:
    script = (ROOT / ".ci" / "run").read_text()

    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    assert "set -euo pipefail" in script
    assert "</dev/null" in script
    for target in ("test", "lint", "types", "layers", "demo", "faults-short"):
        assert re.search(rf"^make {target}\b.*</dev/null", script, re.MULTILINE)
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
