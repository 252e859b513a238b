"""Productions in every form that they have in public repositories are read, and their modules do not mix."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import iop
import pytest

import projects
from wattbus import testing
from wattbus.errors import BadSettings, Refused, UnknownName
from wattbus.runtime.loading import load_project
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.reading import from_production, load, load_all
from wattbus.store.queries import list_events


def greet(config: ProductionConfig, text: str = "Ada") -> str:
    """Call the handler of item G without a bus."""
    item = config.items["G"]
    component = item.component()
    component.on_init()
    return str(component.greet(config.modules["msg"].Greeting(text)).text)


# -- CLASSES -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_name", "classes", "head"),
    [
        ("'Python.Greeter'", "{'Python.Greeter': Greeter}", "from bo import Greeter"),
        ("'Python.Greeter'", "{'Python.Greeter': bo.Greeter}", "import bo"),
        ("'Python.all.bo.Greeter'", "{'Python.all': bo}", "import bo"),
        ("'My.G'", "{'My.G': {'path': '.', 'module': 'bo', 'class': 'Greeter'}}", ""),
        (
            "'My.G'",
            "{'My.G': {'module': 'bo', 'class': 'Greeter', 'path': os.path.dirname(__file__)}}",
            "import os",
        ),
        ("'My.bo.Greeter'", "{'My': {'path': os.path.dirname(__file__), 'file': 'bo.py'}}", "import os"),
        ("'My.bo.Greeter'", "{'My': {'path': os.path.dirname(__file__)}}", "import os"),
        ("'My.bo.Greeter'", "{'My': {'path': '..', 'package': 'project'}}", ""),
        ("'My.G'", "{'My.G': 'bo.Greeter'}", ""),
        ("'My.bo.Greeter'", "{'My': 'bo'}", ""),
        ("Greeter", "{}", "from bo import Greeter"),
        ("{'path': '.', 'module': 'bo', 'class': 'Greeter'}", "{}", ""),
        ("'Python.bo.Greeter'", "{}", ""),
        ("'Python.bo.Greeter'", "{}", "import bo"),
        (
            "'Python.G'",
            "{'Python.G': Greeter, 'Python.Unused': {'path': '.', 'file': 'gone.py'}}",
            "from bo import *",
        ),
    ],
)
def test_a_class_is_found_by_every_name_that_classes_can_give_it(
    tmp_path: Path, class_name: str, classes: str, head: str
) -> None:
    settings = projects.one_item(class_name, classes=classes, head=head)

    config = load(projects.greeter(tmp_path / "project", settings))

    assert config.items["G"].component is config.modules["bo"].Greeter
    assert greet(config) == "hello Ada"


def test_a_generic_proxy_gets_its_class_from_module_classname_and_classpaths(tmp_path: Path) -> None:
    rows = [
        ("%module", "bo"),
        ("%classname", "Greeter"),
        ("%classpaths", f"{tmp_path / 'elsewhere'}|{tmp_path}"),
    ]
    setting = [{"@Target": "Host", "@Name": name, "#text": value} for name, value in rows]
    projects.write(tmp_path / "elsewhere", msg=projects.MESSAGES, bo=projects.GREETER)
    settings = projects.one_item("'IOP.BusinessOperation'", f"'Setting': {setting!r}")

    config = load(projects.write(tmp_path / "project", settings=settings))

    assert greet(config) == "hello Ada"


def test_underscores_leave_a_name_as_iop_makes_it(tmp_path: Path) -> None:
    module = "from iop import BusinessOperation\nclass My_Op(BusinessOperation): ...\n"
    settings = projects.one_item("'Python.mymod.MyOp'", classes="{'Python': {'path': '.'}}")

    config = load(projects.write(tmp_path, my_mod=module, settings=settings))

    assert config.items["G"].component.__name__ == "My_Op"


@pytest.mark.parametrize(
    ("classes", "name", "where"),
    [
        (
            "{'My.G': {'path': '/irisdev/app/elsewhere/', 'module': 'bo', 'class': 'Greeter'}}",
            "My.G",
            "src/python",
        ),
        ("{'My': {'path': '/irisdev/app/src', 'package': 'python'}}", "My.bo.Greeter", "src"),
        ("{'My': {'path': '/irisdev/app/demo'}}", "My.bo.Greeter", "src/python/demo"),
    ],
)
def test_a_path_in_a_container_that_is_not_here_is_looked_for_around_the_settings_file(
    tmp_path: Path, classes: str, name: str, where: str
) -> None:
    folder = tmp_path / "src" / "python"
    projects.write(folder / "demo", bo=projects.GREETER)

    config = load(projects.greeter(folder, projects.one_item(repr(name), classes=classes)))

    assert greet(config) == "hello Ada"
    (note,) = config.notes
    assert "there is no /irisdev/app" in note.sentence
    assert f"; {tmp_path / where} is looked into" in note.sentence


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("{'My.G': {'path': '.', 'module': 'bo', 'class': 'Greter'}}", "did you mean 'Greeter'"),
        (
            "{'My.G': {'path': '.', 'module': 'boo', 'class': 'Greeter'}}",
            "No module named 'boo': did you mean 'bo'",
        ),
        ("{'My.G': {'path': 'gone', 'module': 'bo', 'class': 'Greeter'}}", "no folder 'gone' beside"),
        ("{'My.G': 3}", r"CLASSES\['My.G'\] is 3: give a class, a module"),
        ("['My.G']", "CLASSES is a list: make it a dictionary"),
        ("{'My.G': dict}", "G.*is no BusinessService, BusinessProcess or BusinessOperation"),
    ],
)
def test_what_classes_cannot_find_is_a_sentence_with_its_key(tmp_path: Path, classes: str, said: str) -> None:
    file = projects.greeter(tmp_path, projects.one_item("'My.G'", classes=classes))

    with pytest.raises(BadSettings, match=said) as refusal:
        load(file)

    assert str(file) in str(refusal.value)


# -- productions -------------------------------------------------------------------------------------------------------


def test_every_value_of_an_item_of_a_dictionary_is_read(tmp_path: Path) -> None:
    rest = """
        '@PoolSize': '3', '@Enabled': 'true', '@Category': 'A', '@Comment': 'B', '@Foreground': 'false',
        '@LogTraceEvents': '1', '@Schedule': 'START:*-*-*T08:00:00', '@DisplayName': 'ignored', '@PoolSzie': '4',
        'Setting': [
            {'@Target': 'Host', '@Name': '%settings', '#text': 'word=hi\\r\\nempty'},
            {'@Name': 'RetryInterval', '#text': '7'},
            {'@Target': 'Adapter', '@Name': 'Charset', '#text': 'utf-8'},
            {'@Target': 'Elsewhere', '@Name': 'X', '#text': '1'},
        ]
    """
    settings = projects.one_item("'Python.bo.Greeter'", rest)

    config = load(projects.greeter(tmp_path, settings))

    item = config.items["G"]
    assert (item.kind, item.pool_size, item.enabled, item.foreground) == ("operation", 3, True, False)
    assert (item.category, item.comment, item.log_trace_events) == ("A", "B", True)
    assert (item.schedule, item.class_name) == ("START:*-*-*T08:00:00", "Python.bo.Greeter")
    assert item.host_settings == {"%settings": "word=hi\r\nempty", "RetryInterval": "7"}
    assert item.adapter_settings == {"Charset": "utf-8"}
    said = " ".join(note.sentence for note in config.notes)
    assert "'@PoolSzie', which is not known and is ignored: did you mean '@PoolSize'?" in said
    assert "'X' has the target 'Elsewhere'" in said
    assert "adapter settings (Charset) and no adapter" in said
    assert "DisplayName" not in said


def test_a_production_that_iop_exports_is_read_with_its_name_and_its_own_settings(tmp_path: Path) -> None:
    settings = """
        from bo import Greeter
        CLASSES = {"Python.Greeter": Greeter}
        SCHEMAS = []
        REMOTE_SETTINGS = {"url": "http://localhost:52773", "namespace": "USER"}
        PRODUCTIONS = [{"Production": {
            "@Name": "Exported.Production", "@TestingEnabled": "true", "@LogGeneralTraceEvents": "false",
            "Description": "said", "ActorPoolSize": "5",
            "Setting": {"@Target": "Adapter", "@Name": "ShutdownTimeout", "#text": "60"},
            "Item": {"@Name": "G", "@ClassName": "Python.Greeter", "Setting": {"@Name": "word", "#text": "hi"}},
        }}]
    """

    config = load(projects.greeter(tmp_path, settings))

    assert (config.name, config.description, config.actor_pool_size) == ("Exported.Production", "said", 5)
    assert (config.testing_enabled, config.log_general_trace_events) == (True, False)
    assert config.settings == {"ShutdownTimeout": "60"}
    assert config.notes == ()
    ((name, body),) = config.definition.items()
    assert name == body["@Name"] == "Exported.Production"


@pytest.mark.parametrize(
    "text", ["{'word': 'hi', 'loud': True}", "'word=hi\\nloud=true'", "'word=hi\\r\\n\\r\\nloud=true'"]
)
def test_free_settings_are_a_dictionary_or_lines(tmp_path: Path, text: str) -> None:
    settings = projects.one_item(
        "'Python.bo.Greeter'", f"'Setting': {{'@Name': '%settings', '#text': {text}}}"
    )

    with testing.production(projects.greeter(tmp_path, settings), tmp_path / "home") as bus:
        greeting = bus.production.production.modules["msg"].Greeting

        assert bus.request("G", greeting("Ada")).text == "hi Ada"


def test_a_process_without_a_pool_of_its_own_gets_the_actors_of_the_production(tmp_path: Path) -> None:
    module = "from iop import BusinessProcess\nclass P(BusinessProcess): ...\n"
    settings = projects.one_item("'Python.bp.P'", "'@PoolSize': '0'")

    config = load(projects.write(tmp_path, bp=module, settings=settings))

    assert config.items["G"].pool_size == config.actor_pool_size == 2


def test_production_classes_and_objects_are_read_with_routes_schedules_and_adapters(tmp_path: Path) -> None:
    settings = """
        from iop import BusinessProcess, BusinessService, InboundAdapter, OperationItem, ProcessItem, Production, Route
        from iop import ServiceItem, target
        from bo import Greeter

        class Beat(InboundAdapter):
            pass

        class In(BusinessService):
            Output = target()

        class Router(BusinessProcess):
            Output = target("G")

        class Declared(Production):
            name = "Declared.Production"
            services = [ServiceItem("In", In, adapter_class=Beat, adapter_settings={"Every": 2}, schedule="daily",
                                    foreground=True, routes=Route("Output", "Router"))]
            processes = [ProcessItem("Router", Router)]
            operations = [OperationItem("G", Greeter, pool_size=2, settings={"%settings": {"word": "hi"}})]

        PRODUCTIONS = [Declared, Declared("Again.Production")]
    """

    found = load_all(projects.greeter(tmp_path, settings))

    config = found["Declared.Production"]
    service = config.items["In"]
    assert list(found) == ["Declared.Production", "Again.Production"]
    assert service.adapter is config.project.settings.Beat  # type: ignore[union-attr]
    assert (service.schedule, service.foreground, service.adapter_settings) == ("daily", True, {"Every": 2})
    assert [(route.target, route.setting) for route in service.connections] == [("Router", "Output")]
    assert [route.target for route in config.items["Router"].connections] == ["G"]
    assert config.items["G"].host_settings == {"%settings": "word=hi"}


def test_the_first_production_with_items_runs_and_the_others_are_named(tmp_path: Path) -> None:
    settings = """
        EMPTY = {"Empty.Production": {"@Name": "Empty.Production"}}
        PRODUCTIONS = [EMPTY] + [
            {name: {"Item": {"@Name": item, "@ClassName": "Python.bo.Greeter"}}}
            for name, item in (("First.Production", "G"), ("Second.Production", "H"))
        ]
    """
    file = projects.greeter(tmp_path, settings)

    first, second = load(file), load(file, "Second.Production")

    assert (first.name, list(first.items), list(second.items)) == ("First.Production", ["G"], ["H"])
    assert [note.sentence for note in first.notes if note.level == "info"] == [
        f"{file} has other productions, Empty.Production, Second.Production: choose with --production."
    ]
    with pytest.raises(UnknownName, match=r"did you mean 'Second.Production'"):
        load(file, "Secnd.Production")
    with pytest.raises(BadSettings, match=r"'Empty.Production' is empty"):
        load(file, "Empty.Production")


@pytest.mark.parametrize(
    ("productions", "said"),
    [
        ("{}", r"has PRODUCTIONS = dict: end it with `PRODUCTIONS = \[prod\]`"),
        ("[]", "has PRODUCTIONS = list"),
        ("None", "exports no PRODUCTIONS"),
        ("[{}]", "holds an empty dict"),
        ("['Name']", "holds a str"),
        ("[{'P': []}]", "production 'P' is a list"),
        ("[{'P': {'Item': ['G']}}]", "item that is a str"),
        ("[{'P': {'Item': [{'@ClassName': ''}]}}]", "item without a name"),
        ("[{'P': {'Item': [{'@Name': 'G'}]}}]", "item 'G'.*has no class"),
        (
            "[{'P': {'Item': [{'@Name': 'G', '@ClassName': 'Python.bo.Greeter', '@PoolSize': 'two'}]}}]",
            "PoolSize.*'two'",
        ),
        (
            "[{'P': {'Item': [{'@Name': 'G', '@ClassName': 'Python.bo.Greeter', '@Enabled': 'maybe'}]}}]",
            "'maybe'",
        ),
        (
            "[{'P': {'Item': [{'@Name': 'G', '@ClassName': 'Python.bo.Greeter', 'Setting': ['x']}]}}]",
            "setting 'x'",
        ),
        ("[{'P': {'Item': 2 * [{'@Name': 'G', '@ClassName': 'Python.bo.Greeter'}]}}]", "'G'.*is there twice"),
    ],
)
def test_a_production_that_cannot_be_read_is_a_sentence(tmp_path: Path, productions: str, said: str) -> None:
    file = projects.greeter(tmp_path, f"PRODUCTIONS = {productions}\n")

    with pytest.raises(BadSettings, match=said):
        load(file)


# -- ObjectScript ------------------------------------------------------------------------------------------------------

MIXED = """
from bo import Greeter
CLASSES = {"Python.Greeter": Greeter}
PRODUCTIONS = [{"Mixed.Production": {"Item": [
    {"@Name": "Files", "@ClassName": "EnsLib.File.PassthroughService"},
    {"@Name": "G", "@ClassName": "Python.Greeter"},
    {"@Name": "Typo", "@ClassName": "Python.Greter"},
]}}]
"""


def test_items_of_objectscript_are_listed_as_needing_iris_and_the_rest_runs(tmp_path: Path) -> None:
    with testing.production(projects.greeter(tmp_path, MIXED), tmp_path / "home") as bus:
        greeting = bus.production.production.modules["msg"].Greeting

        answer = bus.request("G", greeting("Ada"))
        with pytest.raises(Refused, match=r"'Files' takes no messages here.*EnsLib.File.PassthroughService"):
            bus.request("Files", greeting("Ada"))
        bus.production.store.flush()
        warnings = [
            event
            for event in list_events(bus.production.store.engine, type="Warning")
            if "needs IRIS" in event.text
        ]
        states = {item.name: item.state for item in bus.items()}

    assert answer.text == "hello Ada"
    assert states == {"G": "Running", "Files": "Needs IRIS", "Typo": "Needs IRIS"}
    assert sorted(event.item for event in warnings) == ["Files", "Typo"]
    assert "Did you mean 'Python.Greeter'?" in " ".join(event.text for event in warnings)


def test_a_production_with_nothing_but_objectscript_is_refused(tmp_path: Path) -> None:
    prod = iop.Production("Iris.Production")
    prod.service("Files", class_name="EnsLib.File.PassthroughService")

    with pytest.raises(BadSettings, match=r"'Iris.Production' has no item that runs here"):
        from_production(prod)


def test_an_adapter_in_python_is_found_and_one_in_objectscript_needs_iris(tmp_path: Path) -> None:
    module = """
        from iop import BusinessService, InboundAdapter

        class Beat(InboundAdapter):
            pass

        class WithBeat(BusinessService):
            def get_adapter_type():
                return "Python.Beat"

        class Polled(BusinessService):
            @staticmethod
            def get_adapter_type():
                return "Ens.InboundAdapter"

        class OfIris(BusinessService):
            def get_adapter_type():
                return "EnsLib.File.InboundAdapter"
    """
    settings = """
        import bs
        CLASSES = {"Python.Beat": bs.Beat}
        PRODUCTIONS = [{"P": {"Item": [
            {"@Name": name, "@ClassName": getattr(bs, name)} for name in ("WithBeat", "Polled", "OfIris")
        ]}}]
    """

    config = load(projects.write(tmp_path, bs=module, settings=settings))

    assert config.items["WithBeat"].adapter is config.modules["bs"].Beat
    assert (config.items["Polled"].adapter, config.items["Polled"].adapter_class_name) == (
        None,
        "Ens.InboundAdapter",
    )
    assert "EnsLib.File.InboundAdapter" in config.skipped["OfIris"].sentence


# -- modules -----------------------------------------------------------------------------------------------------------

LAZY = """
from iop import BusinessOperation
from msg import Greeting

class Greeter(BusinessOperation):
    def on_init(self):
        pass

    def greet(self, request: Greeting) -> Greeting:
        import later
        from deep.inner import word
        return Greeting(f"{later.WORD} {word()} {request.text}")
"""


def lazy_project(folder: Path, word: str, **files: str) -> Path:
    """Write a project that imports two modules in its handler, one in a folder without __init__.py."""
    written = {
        "settings": projects.one_item("'Python.bo.Greeter'"),
        "bo": LAZY,
        "later": f"WORD = {word!r}\n",
        "deep__inner": "from .words import word\n",
        "deep__words": f"def word():\n    from deep import again\n    return again.WORD + {word!r}\n",
        "deep__again": f"WORD = 'again-{word}-'\n",
    }
    return projects.greeter(folder, **{**written, **files})


def test_two_projects_with_modules_of_the_same_names_run_in_one_process(tmp_path: Path) -> None:
    one, two = lazy_project(tmp_path / "one", "un"), lazy_project(tmp_path / "two", "deux")

    with (
        testing.production(one, tmp_path / "home1") as first,
        testing.production(two, tmp_path / "home2") as second,
    ):
        greetings = [bus.production.production.modules["msg"].Greeting for bus in (first, second)]
        said = [
            bus.request("G", greeting("Ada")).text
            for bus, greeting in zip((first, second, first), (*greetings, greetings[0]), strict=True)
        ]

    assert said == ["un again-un-un Ada", "deux again-deux-deux Ada", "un again-un-un Ada"]
    assert greetings[0] is not greetings[1]
    assert {f"{cls.__module__}.{cls.__name__}" for cls in greetings} == {"msg.Greeting"}


def test_annotations_as_text_are_resolved_in_their_own_project(tmp_path: Path) -> None:
    message = """
        from __future__ import annotations
        from dataclasses import dataclass
        from iop import Message
        from part import Part

        @dataclass
        class Greeting(Message):
            part: Part
    """
    part = "from dataclasses import dataclass\n@dataclass\nclass Part:\n    {field}: int = 0\n"
    operation = """
        from __future__ import annotations
        from iop import BusinessOperation
        from msg import Greeting

        class Greeter(BusinessOperation):
            limit: int = 3

            def greet(self, request: Greeting) -> Greeting:
                assert type(request.part).__module__ == "part"
                return request
    """
    files = [
        projects.greeter(
            tmp_path / field, projects.one_item("'Python.bo.Greeter'"), msg=message, bo=operation,
            part=part.format(field=field),
        )
        for field in ("first", "second")
    ]  # fmt: skip
    configs = [load(file) for file in files]

    with testing.production(files[0], tmp_path / "home") as bus:
        greeting, part_class = configs[0].modules["msg"].Greeting, configs[0].modules["part"].Part
        answer = bus.request("G", greeting(part_class(7)))

    assert answer.part.first == 7
    assert answer == greeting(part_class(7))


def test_what_the_user_imported_before_is_what_the_production_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = projects.greeter(tmp_path, projects.one_item("'Python.bo2.Greeter'"), msg2=projects.MESSAGES)
    projects.write(tmp_path, bo2=projects.GREETER.replace("msg", "msg2"))
    monkeypatch.syspath_prepend(tmp_path)
    before = importlib.import_module("msg2")

    with testing.production(file, tmp_path / "home") as bus:
        answer = bus.request("G", before.Greeting("Ada"))

    assert answer == before.Greeting("hello Ada")
    assert importlib.import_module("msg2") is before


def test_a_file_that_is_loaded_again_keeps_the_classes_of_modules_that_are_as_they_were(
    tmp_path: Path,
) -> None:
    file = projects.greeter(tmp_path, projects.one_item("'Python.bo.Greeter'"))

    first, again = load(file), load(file)

    assert again.items["G"].component is first.items["G"].component
    assert sys.modules["msg"] is first.modules["msg"]


def test_a_changed_module_is_imported_anew_with_those_that_import_it_and_no_others(tmp_path: Path) -> None:
    other = "from iop import BusinessOperation\nclass Other(BusinessOperation): ...\n"
    settings = """
        PRODUCTIONS = [{"P": {"Item": [
            {"@Name": "G", "@ClassName": "Python.bo.Greeter"}, {"@Name": "O", "@ClassName": "Python.other.Other"},
        ]}}]
    """
    file = lazy_project(tmp_path, "un", other=other, settings=settings)
    before = load(file)
    assert greet(before) == "un again-un-un Ada"

    (tmp_path / "later.py").write_text("WORD = 'xx'\n")
    after = load(file)

    assert greet(after) == "xx again-un-un Ada"
    assert after.items["O"].component is before.items["O"].component
    assert after.modules["msg"] is before.modules["msg"]


def test_a_settings_file_that_breaks_leaves_the_one_before_in_place(tmp_path: Path) -> None:
    file = lazy_project(tmp_path, "un")
    before = load(file)
    text = file.read_text()
    file.write_text("import bo\nraise RuntimeError('half done')\n")

    with pytest.raises(BadSettings, match=r"line 2 of settings\.py: RuntimeError: half done"):
        load(file)

    assert greet(before) == "un again-un-un Ada"
    file.write_text(text)
    assert load(file).items["G"].component is before.items["G"].component


def test_modules_of_others_with_the_same_names_are_left_alone(tmp_path: Path) -> None:
    import fakehub

    files = {"fakehub": "WORD = 'mine'\n", "statistics": "WORD = 'mine'\n"}
    settings = "import fakehub, statistics\nassert fakehub.WORD == statistics.WORD == 'mine'\n"
    sys.modules.pop("statistics", None)

    load(projects.greeter(tmp_path, settings + projects.one_item("'Python.bo.Greeter'"), **files))

    assert sys.modules["fakehub"] is fakehub
    assert hasattr(importlib.import_module("statistics"), "mean")


def test_a_folder_that_settings_adds_to_the_path_is_part_of_the_project(tmp_path: Path) -> None:
    settings = "import os, sys\nsys.path.append(os.path.dirname(__file__) + '/../shared{0}')\nimport helper\n"
    files = []
    for name in ("a", "b"):
        projects.write(tmp_path / f"shared{name}", helper=f"WORD = {name!r}\n")
        text = settings.format(name) + projects.one_item(
            "'Python.bo.Greeter'", head="assert helper.WORD == " + repr(name)
        )
        files.append(projects.greeter(tmp_path / name, text))

    loaded = [load_project(file) for file in (*files, files[0])]

    assert [project.modules["helper"].WORD for project in loaded] == ["a", "b", "a"]
    assert not [entry for entry in sys.path if "sharedb" in entry]


def test_a_settings_file_may_be_a_link_in_a_folder_with_a_space_and_have_another_name(tmp_path: Path) -> None:
    projects.greeter(tmp_path / "my project", projects.one_item("'Python.bo.Greeter'"))
    link = tmp_path / "my.production.py"
    link.symlink_to(tmp_path / "my project" / "settings.py")

    config = load(link)

    assert greet(config) == "hello Ada"
    assert config.source == str(link)
    assert load(tmp_path / "my project").items.keys() == {"G"}


def test_a_file_that_is_missing_or_cannot_be_a_settings_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "iop.py").write_text("PRODUCTIONS = []\n")

    with pytest.raises(BadSettings, match=r"there is no .*settings.py: name the settings file"):
        load(tmp_path)
    with pytest.raises(BadSettings, match=r"cannot be a settings file: call it settings.py"):
        load(tmp_path / "iop.py")
