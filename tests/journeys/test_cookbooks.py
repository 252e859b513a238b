"""Productions that others wrote for IRIS run unmodified: those of iop's cookbooks, and such as repositories hold.

The blocks of the installed iop's own pages are put into the files that the pages name; what a page names and does not
show is written here, as its reader would.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import iop
import pytest

import projects
from waiting import until, wait_for
from wattbus import testing
from wattbus.runtime.check import check
from wattbus.runtime.reading import load
from wattbus.store.queries import list_events, list_messages
from wattbus.testing import PythonDoor

PAGES = Path(iop.__file__).parent / "ai" / "skills" / "build-iop-app" / "references"
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: How many Python blocks each page has that speaks of productions; a new one has to be tried as well.
BLOCKS = {
    "cookbooks/add-business-operation.md": 4,
    "cookbooks/add-business-process.md": 2,
    "cookbooks/add-polling-service.md": 2,
    "cookbooks/code-index.md": 1,
    "cookbooks/fhir-submission-python-client.md": 2,
    "cookbooks/hello-world-production.md": 2,
    "cookbooks/production-settings-and-targets.md": 3,
    "cookbooks/remote-migration.md": 1,
    "getting-started/register-component.md": 12,
}
IOP = Path(sys.executable).with_name("iop")


def blocks(page: str) -> list[str]:
    return _PYTHON.findall((PAGES / page).read_text())


@contextmanager
def running(settings: Path) -> Iterator[PythonDoor]:
    """Run a project that the check has no error against."""
    assert [finding for finding in check(settings) if finding.level == "error"] == []
    with testing.production(settings, settings.parent / "home") as bus:
        assert bus.wait_ready()
        yield bus


def module(bus: PythonDoor, name: str) -> ModuleType:
    """Return a module of the running production."""
    return bus.production.production.modules[name]


def texts(bus: PythonDoor, item: str, kind: str = "Info") -> list[str]:
    bus.production.store.flush()
    return [event.text for event in list_events(bus.production.store.engine, item=item, type=kind)]


def test_the_pages_hold_the_blocks_that_are_tried_here() -> None:
    pages = [*PAGES.glob("cookbooks/*.md"), *PAGES.glob("getting-started/*.md")]

    found = {str(page.relative_to(PAGES)): len(_PYTHON.findall(page.read_text())) for page in pages}

    assert {page: count for page, count in found.items() if count} == BLOCKS


# -- iop's cookbooks ----------------------------------------------------------------------------------------------


def test_hello_world(tmp_path: Path) -> None:
    components, settings = blocks("cookbooks/hello-world-production.md")
    file = projects.write(
        tmp_path, hello_world__components=components, hello_world____init__="", settings=settings
    )

    with running(file) as bus:
        request = module(bus, "hello_world.components").HelloRequest
        wait_for(
            bus,
            lambda rows: any(
                row.target_item == "HelloOperation" and row.status == "Completed" for row in rows
            ),
        )
        answer = bus.request("HelloOperation", request("again"))
        (polled, *_) = [
            row for row in list_messages(bus.production.store.engine) if row.source_item == "HelloService"
        ]

        assert answer == request("again")
        assert "Hello World" in texts(bus, "HelloOperation")
        assert polled.body_class == "hello_world.components.HelloRequest"


def test_an_operation_with_on_message(tmp_path: Path) -> None:
    operation, _, wiring, _ = blocks("cookbooks/add-business-operation.md")

    with running(orders(tmp_path, operation, wiring)) as bus:
        messages = module(bus, "messages")
        answer = bus.request("OrderOperation", messages.OrderRequest(order_id="7"))

        assert answer == messages.OrderResponse(order_id="7", status="accepted")
        assert texts(bus, "OrderOperation") == ["Processing order 7"]


def test_an_operation_with_handlers_by_type_by_decorator_and_a_fallback_behind_a_process(
    tmp_path: Path,
) -> None:
    _, operation, wiring, process = blocks("cookbooks/add-business-operation.md")
    bp = """
        from iop import BusinessProcess, target

        class OrderProcess(BusinessProcess):
            Orders = target()

            def on_message(self, request):
                return self.send_request_sync(self.Orders, request)
    """

    with running(orders(tmp_path, operation, wiring, "from bp import OrderProcess", process, bp=bp)) as bus:
        messages = module(bus, "messages")
        sent = [messages.OrderRequest("7"), messages.CancelOrder("8"), messages.RejectedOrder("no")]
        answers = [bus.request("OrderProcess", message) for message in sent]

        assert answers == [messages.OrderResponse("7", "accepted"), *sent[1:]]
        assert texts(bus, "OrderOperation") == ["Submitting order 7", "Cancelling order 8"]
        assert texts(bus, "OrderOperation", "Warning") == ["Unhandled message RejectedOrder"]


MESSAGES = """
from dataclasses import dataclass
from iop import Message

@dataclass
class OrderRequest(Message):
    order_id: str = ""

@dataclass
class CancelOrder(Message):
    order_id: str = ""

@dataclass
class OrderResponse(Message):
    order_id: str = ""
    status: str = ""

@dataclass
class RejectedOrder(Message):
    reason: str = ""
"""
HEAD = "from iop import Production\nprod = Production('Orders.Production')\n"
END = "PRODUCTIONS = [prod]\n"


def orders(folder: Path, operation: str, *wiring: str, **files: str) -> Path:
    settings = "\n".join((HEAD, "from bo import OrderOperation", *wiring, END))
    return projects.write(folder, messages=MESSAGES, bo=operation, settings=settings, **files)


ACCEPTING = """
from iop import BusinessOperation
from messages import OrderRequest, OrderResponse, RejectedOrder

class AcceptedOperation(BusinessOperation):
    def accept(self, request: OrderRequest) -> OrderResponse:
        return OrderResponse(request.order_id, "accepted")

class RejectedOperation(BusinessOperation):
    def reject(self, request: RejectedOrder) -> OrderResponse:
        return OrderResponse(status=request.reason)
"""
IMPORTS = "from bo import AcceptedOperation, RejectedOperation"


def test_a_process_that_routes(tmp_path: Path) -> None:
    process, wiring = blocks("cookbooks/add-business-process.md")
    settings = "\n".join((HEAD, IMPORTS, "from bp import OrderProcess", wiring, END))
    file = projects.write(tmp_path, messages=MESSAGES, bo=ACCEPTING, bp=process, settings=settings)

    with running(file) as bus:
        messages = module(bus, "messages")
        sent = [messages.OrderRequest("7"), messages.OrderRequest(""), messages.CancelOrder("8")]
        answers = [bus.request("OrderProcess", message) for message in sent]
        last = bus.request("OrderProcess", messages.RejectedOrder("by hand"))

        accepted, rejected = (
            messages.OrderResponse("7", "accepted"),
            messages.OrderResponse(status="missing id"),
        )
        assert answers == [accepted, rejected, sent[2]]
        assert last == messages.RejectedOrder("by hand")
        assert texts(bus, "OrderProcess") == ["by hand"]


def test_a_service_that_polls_records(tmp_path: Path) -> None:
    service, wiring = blocks("cookbooks/add-polling-service.md")
    records = """
from types import SimpleNamespace

waiting = [SimpleNamespace(id="1", payload="one"), SimpleNamespace(id="2", payload="two")]

def read_source_records():
    records, waiting[:] = list(waiting), []
    return records
"""
    process = """
        from iop import BusinessProcess
        from bs import SourceRecord

        class RecordProcess(BusinessProcess):
            def take(self, request: SourceRecord):
                self.log_info(f"{request.source_id}: {request.payload}")
    """
    settings = "\n".join((HEAD, "from bs import FilePollService\nfrom bp import RecordProcess", wiring, END))

    with running(projects.write(tmp_path, bs=service + records, bp=process, settings=settings)) as bus:
        until(lambda: len(texts(bus, "RecordProcess")) == 2, "both records arrive")

        assert sorted(texts(bus, "RecordProcess")) == ["1: one", "2: two"]


ROUTING = """
    def on_message(self, request):
        return self.send_request_sync(self.Accepted if request.order_id else self.Rejected, request)
"""


@pytest.mark.parametrize("by_default", [False, True], ids=["connected", "by default"])
def test_targets_that_are_connected_and_targets_by_default(tmp_path: Path, by_default: bool) -> None:
    plain, wiring, with_defaults = blocks("cookbooks/production-settings-and-targets.md")
    if by_default:
        # The block holds the class and its wiring, with empty lines between them: the body of the class goes there.
        cls, _, wiring = with_defaults.partition("\n\n\n")
        plain = "from iop import BusinessProcess, target\n" + cls
    settings = "\n".join((HEAD, IMPORTS, "from bp import RouteProcess", wiring, END))
    file = projects.write(tmp_path, messages=MESSAGES, bo=ACCEPTING, bp=plain + ROUTING, settings=settings)

    with running(file) as bus:
        messages = module(bus, "messages")
        routes = bus.production.production.items["RouteProcess"].connections

        assert bus.request("RouteProcess", messages.OrderRequest("7")) == messages.OrderResponse(
            "7", "accepted"
        )
        assert [(route.setting, route.target) for route in routes] == [
            ("Accepted", "AcceptedOperation"),
            ("Rejected", "RejectedOperation"),
        ]


def test_an_operation_that_submits_fhir(tmp_path: Path) -> None:
    validate, operation = blocks("cookbooks/fhir-submission-python-client.md")
    messages = """
        from dataclasses import dataclass, field
        from iop import Message

        @dataclass
        class FhirRequest(Message):
            resource: dict = field(default_factory=dict)
    """
    settings = f"{HEAD}import bo, msg\nprod.operation('Fhir', bo.FhirSubmitOperation)\n{END}"
    file = projects.write(tmp_path, bo=f"{validate}\n{operation}", msg=messages, settings=settings)

    with running(file) as bus:
        request = module(bus, "msg").FhirRequest
        answer = bus.request("Fhir", request({"resourceType": "Patient"}))
        with pytest.raises(Exception, match="FHIR resource must include resourceType"):
            bus.request("Fhir", request({}))

    assert answer.resource == {"resourceType": "Patient"}


# -- getting started ----------------------------------------------------------------------------------------------

GETTING_STARTED = "getting-started/register-component.md"
COMPONENTS = """
from iop import BusinessOperation, BusinessService
from msg import RedditPost

class FileOperation(BusinessOperation):
    def write(self, request: RedditPost) -> RedditPost:
        return request

class RedditService(BusinessService):
    def on_process_input(self, message_input):
        return None
"""
POST = """
from dataclasses import dataclass
from iop import Message

@dataclass
class RedditPost(Message):
    title: str = ""
"""


def test_the_production_graph_of_getting_started(tmp_path: Path) -> None:
    settings = blocks(GETTING_STARTED)[0]

    with running(projects.write(tmp_path, settings=settings)) as bus:
        until(lambda: "Received order 777" in texts(bus, "OrderOperation"), "the polled order arrives")
        order = module(bus, "settings").OrderRequest

        assert bus.request("OrderOperation", order("8")) == order("8")


def test_a_persistent_message_of_a_production_and_of_classes(tmp_path: Path) -> None:
    with_production, in_classes = blocks(GETTING_STARTED)[1:3]
    operation = """
from iop import BusinessOperation

class Keep(BusinessOperation):
    def keep(self, request: OrderMessage) -> OrderMessage:
        return request

prod.operation("Keep", Keep)
"""
    msg = """
        from iop import Field, PersistentMessage

        class OrderMessage(PersistentMessage):
            OrderId: str = Field(required=True)
    """
    other = "\n".join((in_classes, HEAD, operation, END))

    first = load(projects.write(tmp_path / "one", settings=with_production + operation))
    second = load(projects.write(tmp_path / "two", msg=msg, settings=other))

    for config in (first, second):
        assert list(config.persistent) == ["Demo.Msg.OrderMessage"]
        order = config.persistent["Demo.Msg.OrderMessage"]
        with running(Path(config.source)) as bus:
            assert bus.request("Keep", order(OrderId="7")).OrderId == "7"


@pytest.mark.parametrize("classes", [3, 4], ids=["classes", "descriptions"])
def test_the_legacy_dictionaries_of_getting_started(tmp_path: Path, classes: int) -> None:
    found = blocks(GETTING_STARTED)
    bindings, dictionary, schemas, remote = found[classes], found[5], found[6], found[7]
    # The second form binds the service only: the operation of the production is bound as in the first.
    also = "from bo import FileOperation\nCLASSES['Python.FileOperation'] = FileOperation\n"
    settings = "\n".join((bindings, also if classes == 4 else "", dictionary, schemas, remote))
    file = projects.write(tmp_path, msg=POST, bo=COMPONENTS, bs=COMPONENTS, settings=settings)

    with running(file) as bus:
        post = module(bus, "msg").RedditPost

        assert bus.production.production.name == "Demo.Production"
        assert bus.request("FileOperation", post("hello")) == post("hello")
        assert post in bus.production.production.message_types


def test_remote_settings_are_for_iop_and_change_nothing_here(tmp_path: Path) -> None:
    (remote,) = blocks("cookbooks/remote-migration.md")

    config = load(projects.greeter(tmp_path, remote + projects.one_item("'Python.bo.Greeter'")))

    assert (list(config.items), config.notes) == (["G"], ())


# -- the README, and public repositories ----------------------------------------------------------------------------


def test_the_production_of_the_readme_is_accepted_by_the_iop_program(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (settings,) = [block for block in _PYTHON.findall(readme) if block.startswith("# settings.py")]
    file = projects.write(tmp_path, settings=settings)
    command = [str(IOP), "--migrate", str(file), "--dry-run", "--strict-production-validation"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "Hello.Production" in done.stdout
    assert "Python.settings.Greeter -> settings.Greeter" in done.stdout
    assert check(file) == []


def test_a_chat_over_documents_whose_page_asks_the_director_for_its_service(tmp_path: Path) -> None:
    """As in a demo of retrieval: a package without __init__.py, targets in %settings, methods of any name."""
    msg = """
        from dataclasses import dataclass
        from iop import Message

        @dataclass
        class ChatRequest(Message):
            query: str = ""

        @dataclass
        class ChatResponse(Message):
            response: str = ""

        @dataclass
        class ChatClearRequest(Message):
            pass

        @dataclass
        class FileIngestionRequest(Message):
            file_path: str = ""

        @dataclass
        class VectorSearchRequest(Message):
            query: str = ""

        @dataclass
        class VectorSearchResponse(Message):
            docs: list = None
    """
    bs = """
        from iop import BusinessService
        from rag.msg import ChatRequest, ChatClearRequest, FileIngestionRequest

        class ChatService(BusinessService):
            def on_init(self):
                if not hasattr(self, "target"):
                    self.target = "NobodyOfThatName"

            def ingest(self, file_path: str):
                self.send_request_sync(self.target, FileIngestionRequest(file_path=file_path))

            def ask(self, query: str, rag: bool = False):
                response = self.send_request_sync(self.target, ChatRequest(query=query))
                return response.response

            def clear(self):
                self.send_request_sync(self.target, ChatClearRequest())
    """
    bp = """
        from iop import BusinessProcess
        from rag.msg import ChatRequest, ChatClearRequest, FileIngestionRequest, VectorSearchRequest

        class ChatProcess(BusinessProcess):
            def on_init(self):
                if not hasattr(self, "target_vector"):
                    self.target_vector = "VectorOperation"
                if not hasattr(self, "target_chat"):
                    self.target_chat = "ChatOperation"
                self.prompt_template = "Given {context}: {question}"

            def ask(self, request: ChatRequest):
                found = self.send_request_sync(self.target_vector, VectorSearchRequest(query=request.query))
                prompt = request.query
                if found.docs:
                    context = " ".join([doc["page_content"] for doc in found.docs])
                    prompt = self.prompt_template.format(context=context, question=request.query)
                return self.send_request_sync(self.target_chat, ChatRequest(query=prompt))

            def clear(self, request: ChatClearRequest):
                self.send_request_sync(self.target_vector, request)

            def ingest(self, request: FileIngestionRequest):
                self.send_request_sync(self.target_vector, request)
    """
    bo = """
        from iop import BusinessOperation
        from rag.msg import ChatRequest, ChatResponse, ChatClearRequest, FileIngestionRequest
        from rag.msg import VectorSearchRequest, VectorSearchResponse

        class ChatOperation(BusinessOperation):
            def ask(self, request: ChatRequest):
                return ChatResponse(response=request.query.upper())

        class VectorOperation(BusinessOperation):
            def on_init(self):
                self.documents = []

            def ingest(self, request: FileIngestionRequest):
                with open(request.file_path) as file:
                    self.documents.append({"page_content": file.read()})

            def search(self, request: VectorSearchRequest):
                return VectorSearchResponse(docs=self.documents)

            def clear(self, request: ChatClearRequest):
                self.documents = []
    """
    settings = """
        from rag.bo import ChatOperation, VectorOperation
        from rag.bs import ChatService
        from rag.bp import ChatProcess

        CLASSES = {
            "Python.ChatService": ChatService,
            "Python.ChatOperation": ChatOperation,
            "Python.ChatProcess": ChatProcess,
            "Python.VectorOperation": VectorOperation,
        }

        PRODUCTIONS = [{
            "Chat.Production": {
                "@Name": "Chat.Production",
                "@TestingEnabled": "true",
                "@LogGeneralTraceEvents": "false",
                "Description": "",
                "ActorPoolSize": "2",
                "Item": [
                    {
                        "@Name": "ChatService",
                        "@ClassName": "Python.ChatService",
                        "@Enabled": "true",
                        "Setting": [{"@Target": "Host", "@Name": "%settings", "#text": "target=ChatProcess"}],
                    },
                    {"@Name": "ChatOperation", "@ClassName": "Python.ChatOperation", "@Enabled": "true"},
                    {
                        "@Name": "ChatProcess",
                        "@ClassName": "Python.ChatProcess",
                        "@Enabled": "true",
                        "Setting": [{
                            "@Target": "Host",
                            "@Name": "%settings",
                            "#text": "target_vector=VectorOperation\\ntarget_chat=ChatOperation",
                        }],
                    },
                    {"@Name": "VectorOperation", "@ClassName": "Python.VectorOperation", "@Enabled": "true"},
                ],
            }
        }]
    """
    (tmp_path / "paper.txt").write_text("water is wet")
    file = projects.write(tmp_path, rag__msg=msg, rag__bs=bs, rag__bp=bp, rag__bo=bo, settings=settings)

    with running(file) as bus:
        with pytest.warns(DeprecationWarning, match="create_python_business_service"):
            service: Any = iop.Director.create_python_business_service("ChatService")
        plain = service.ask("is it?")
        service.ingest(str(tmp_path / "paper.txt"))
        grounded = service.ask("is it?")
        service.clear()
        again = service.ask("is it?")
        asked = bus.request("ChatProcess", module(bus, "rag.msg").ChatRequest("hm"))

    assert (plain, grounded, again) == ("IS IT?", "GIVEN WATER IS WET: IS IT?", "IS IT?")
    assert asked.response == "HM"


def test_a_pipeline_from_csv_files_to_a_table_with_an_item_that_only_iris_has(tmp_path: Path) -> None:
    """As in a training course: a polled folder, one module for all messages, settings by hasattr, a native item."""
    msg = """
        from dataclasses import dataclass
        from iop import Message
        from obj import Formation

        @dataclass
        class FormationRequest(Message):
            formation: Formation = None
    """
    obj = """
        from dataclasses import dataclass

        @dataclass
        class Formation:
            id_formation: int = None
            nom: str = None
            salle: str = None
    """
    bs = """
        import csv
        import os
        from iop import BusinessService
        from msg import FormationRequest
        from obj import Formation

        class ServiceCSV(BusinessService):
            def get_adapter_type():
                return "Ens.InboundAdapter"

            def on_init(self):
                if not hasattr(self, "path"):
                    self.path = "."
                if not hasattr(self, "filename"):
                    self.filename = "formation.csv"

            def on_process_input(self, request):
                file = os.path.join(self.path, self.filename)
                if not os.path.exists(file):
                    return None
                with open(file, encoding="utf-8") as rows:
                    for row in csv.DictReader(rows, delimiter=";"):
                        formation = Formation(int(row["id"]), row["nom"], row["salle"])
                        self.send_request_sync("Python.Router", FormationRequest(formation=formation))
                os.remove(file)
                return None
    """
    bp = """
        from iop import BusinessProcess
        from msg import FormationRequest

        class Router(BusinessProcess):
            def on_request(self, request):
                if isinstance(request, FormationRequest):
                    self.send_request_sync("Python.FileOperation", request)
                return None
    """
    bo = """
        import os
        from iop import BusinessOperation
        from msg import FormationRequest

        class FileOperation(BusinessOperation):
            def on_init(self):
                if hasattr(self, "path"):
                    os.makedirs(self.path, exist_ok=True)

            def write_formation(self, request: FormationRequest):
                formation = request.formation
                with open(os.path.join(self.path, formation.salle + ".txt"), "a") as file:
                    file.write(f"{formation.id_formation} : {formation.nom}\\n")
                return None

            def on_message(self, request):
                return None
    """
    settings = """
        import bo, bp, bs
        import os
        HERE = os.path.dirname(__file__)

        CLASSES = {"Python.bo": bo, "Python.Router": bp.Router, "Python.ServiceCSV": bs.ServiceCSV}

        PRODUCTIONS = [{
            "Formation.Production": {
                "@Name": "Formation.Production",
                "ActorPoolSize": "1",
                "Item": [
                    {
                        "@Name": "Python.ServiceCSV",
                        "@Category": "",
                        "@ClassName": "Python.ServiceCSV",
                        "@PoolSize": os.environ.get("POOL_SIZE", "1"),
                        "@Enabled": "true",
                        "@Foreground": "false",
                        "@Comment": "",
                        "@LogTraceEvents": "false",
                        "@Schedule": "",
                        "Setting": {"@Target": "Host", "@Name": "%settings", "#text": "path=" + HERE},
                    },
                    {"@Name": "Python.Router", "@ClassName": "Python.Router", "@PoolSize": "", "@Enabled": "true"},
                    {
                        "@Name": "Python.FileOperation",
                        "@ClassName": "Python.bo.bo.FileOperation",
                        "Setting": [
                            {"@Target": "Host", "@Name": "%settings",
                             "#text": "path=" + os.path.join(os.path.dirname(__file__), "out") + "\\r\\nother<10"},
                        ],
                    },
                    {"@Name": "InteropService", "@ClassName": "HS.FHIRServer.Interop.Service", "@PoolSize": "0"},
                ],
            }
        }]
    """
    (tmp_path / "formation.csv").write_text("id;nom;salle\n1;Python;A\n2;Rust;B\n3;SQL;A\n")
    file = projects.write(tmp_path, msg=msg, obj=obj, bs=bs, bp=bp, bo=bo, settings=settings)

    with running(file) as bus:
        until(lambda: not (tmp_path / "formation.csv").exists(), "the file is read")
        states = {item.name: item.state for item in bus.items()}

    assert (tmp_path / "out" / "A.txt").read_text() == "1 : Python\n3 : SQL\n"
    assert (tmp_path / "out" / "B.txt").read_text() == "2 : Rust\n"
    assert states["InteropService"] == "Needs IRIS"


def test_a_filter_of_posts_with_its_targets_in_free_settings(tmp_path: Path) -> None:
    """As in iop's own demo: a polled feed, a routing rule that falls back by hasattr, and two bindings of a module."""
    message = """
        from dataclasses import dataclass
        from iop import Message
        from obj import PostClass

        @dataclass
        class PostMessage(Message):
            post: PostClass = None
            to_email_address: str = None
            found: str = None
    """
    obj = """
        from dataclasses import dataclass

        @dataclass
        class PostClass:
            title: str
            selftext: str
            author: str
            created_utc: float = None
            original_json: str = None
    """
    bs = """
        import json
        from iop import BusinessService
        from message import PostMessage
        from obj import PostClass

        FEED = '[{"title": "On dogs", "selftext": "My Dog ran", "author": "a"},' \\
               ' {"title": "On rain", "selftext": "wet", "author": "b"},' \\
               ' {"title": "On cats", "selftext": "a CAT sat", "author": "c"}]'

        class RedditService(BusinessService):
            def get_adapter_type():
                return "Ens.InboundAdapter"

            def on_init(self):
                if not hasattr(self, "limit"):
                    raise TypeError("no limit field")
                if not hasattr(self, "target"):
                    self.target = "Python.FilterPostRoutingRule"
                self.posts = json.loads(FEED)[: int(self.limit)]
                return 1

            def on_process_input(self, request):
                post = self.on_task()
                if post is not None:
                    msg = PostMessage()
                    msg.post = post
                    self.send_request_sync(self.target, msg)
                    self._wait_for_next_call_interval = False

            def on_task(self) -> PostClass:
                return PostClass(**self.posts.pop(0)) if self.posts else None
    """
    bp = """
        from iop import BusinessProcess
        from message import PostMessage
        from obj import PostClass

        class FilterPostRoutingRule(BusinessProcess):
            def on_init(self):
                if not hasattr(self, "target"):
                    self.target = "Python.FileOperation"
                return

            def iris_to_python(self, request: "iris.dc.Demo.PostMessage"):
                request = PostMessage(post=PostClass(request.Post.Title, request.Post.Selftext, request.Post.Author))
                return self.on_python_message(request)

            def on_python_message(self, request: PostMessage):
                if "dog".upper() in request.post.selftext.upper():
                    request.to_email_address, request.found = "dog@company.com", "Dog"
                if "cat".upper() in request.post.selftext.upper():
                    request.to_email_address, request.found = "cat@company.com", "Cat"
                if request.found is not None:
                    return self.send_request_sync(self.target, request)
                return
    """
    bo = """
        import os
        from iop import BusinessOperation
        from message import PostMessage

        class FileOperation(BusinessOperation):
            def on_init(self):
                if hasattr(self, "path"):
                    os.chdir
                else:
                    self.path = "/tmp"

            def on_post_message(self, request: PostMessage):
                with open(os.path.join(self.path, request.found + ".txt"), "a", encoding="utf-8") as file:
                    file.write(f"{request.to_email_address} : {request.post.title}\\n")
                return
    """
    settings = """
        import bp
        from bo import *
        from bs import *
        import os
        HERE = os.path.dirname(__file__)

        CLASSES = {
            'Python.RedditService': RedditService,
            'Python.FilterPostRoutingRule': bp.FilterPostRoutingRule,
            'Python.FileOperation': {
                'module': 'bo', 'class': 'FileOperation', 'path': os.path.dirname(__file__)
            },
            'Python.bp': bp,
        }

        PRODUCTIONS = [
            {
                'dc.Python.Production': {
                    "@Name": "dc.Demo.Production",
                    "@TestingEnabled": "true",
                    "@LogGeneralTraceEvents": "false",
                    "Description": "",
                    "ActorPoolSize": "2",
                    "Item": [
                        {
                            "@Name": "Files of posts",
                            "@ClassName": "Python.FileOperation",
                            "@PoolSize": "1",
                            "@LogTraceEvents": "true",
                            "Setting": {"@Target": "Host", "@Name": "%settings", "#text": "path=" + HERE},
                        },
                        {
                            "@Name": "Python.RedditService",
                            "@ClassName": "Python.RedditService",
                            "Setting": [{"@Target": "Host", "@Name": "%settings", "#text": "limit=10\\nother<10"}],
                        },
                        {
                            "@Name": "Python.FilterPostRoutingRule",
                            "@ClassName": "Python.FilterPostRoutingRule",
                            "Setting": [{"@Target": "Host", "@Name": "%settings", "#text": "target=Files of posts\\n"}],
                        },
                    ],
                }
            }
        ]
    """
    file = projects.write(tmp_path, message=message, obj=obj, bs=bs, bp=bp, bo=bo, settings=settings)

    with running(file) as bus:
        until(lambda: (tmp_path / "Cat.txt").exists(), "the last post is filed")
        rows = list_messages(bus.production.store.engine, limit=100)

    assert (tmp_path / "Dog.txt").read_text() == "dog@company.com : On dogs\n"
    assert {
        row.source_item for row in rows if row.target_item == "Files of posts" and row.type == "Request"
    } == {"Python.FilterPostRoutingRule"}
    assert bus.production.production.name == "dc.Python.Production"
