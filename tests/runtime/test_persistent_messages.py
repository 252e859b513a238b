"""Persistent messages and models, without IRIS."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import iop
import pytest
from iop import BusinessOperation, BusinessProcess, Field, Model, PersistentMessage, Production, target

from components import Text
from waiting import until
from wattbus import testing
from wattbus.errors import BadRequest, NeedsIris
from wattbus.runtime.iris import stand_in
from wattbus.store.queries import list_messages

stand_in()

import iris  # noqa: E402


class Line(Model, serial=True):
    article: str
    price: decimal.Decimal


class Order(PersistentMessage):
    number: str = Field(required=True)
    amount: int = 1
    paid: bool = False
    note: str | None = None
    ordered: datetime.datetime | None = None
    tags: list[str] = Field(default_factory=list)
    lines: list[Line] = Field(default_factory=list)
    sizes: dict[str, int] = Field(default_factory=dict)
    picture: bytes | None = None


class Named(PersistentMessage):
    class Meta:
        classname = "Demo.Named"

    text: str = ""


class Company(Model):
    name: str
    towns: list[str] = Field(default_factory=list)


class Person(Model):
    class Meta:
        classname = "Demo.Person"

    name: str
    age: int = 0
    company: Company | None = None
    born: datetime.date | None = None
    languages: list[str] = Field(default_factory=list)


FULL: dict[str, Any] = {
    "number": "A1",
    "amount": 3,
    "paid": True,
    "ordered": datetime.datetime(2025, 1, 2, 3, 4, 5),
    "tags": ["a", "b"],
    "lines": [Line(article="x", price=decimal.Decimal("1.50"))],
    "sizes": {"s": 1},
    "picture": b"\x00\xff",
}


class Take(BusinessOperation):
    """Gets orders and names by iop's own dispatch."""

    def order(self, request: Order) -> Order:
        assert isinstance(request, Order)
        given = {name: getattr(request, name) for name in FULL}
        given["amount"] += 1
        return Order(**given)

    def named(self, request: Named) -> Named:
        return Named(text=request.text.upper())


class Forward(BusinessProcess):
    Output = target()

    def on_message(self, request: Any) -> Any:
        return self.send_request_sync(self.Output, request)


def orders(**settings: Any) -> Production:
    prod = Production("Test.Orders")
    take = prod.operation("Take", Take, **settings)
    forward = prod.process("Forward", Forward)
    prod.connect(forward.Output, take)
    return prod


def test_a_persistent_message_travels_both_ways_through_iops_serialisers(tmp_path: Path) -> None:
    with testing.production(orders(), tmp_path) as bus:
        answer = bus.request("Forward", Order(**FULL))
        headers = list_messages(bus.production.store.engine)
        text = bus.production.store.body(headers[-1].body_id)

    assert isinstance(answer, Order)
    assert (answer.number, answer.amount, answer.paid, answer.note) == ("A1", 4, True, None)
    assert (answer.ordered, answer.tags, answer.sizes) == (FULL["ordered"], ["a", "b"], {"s": 1})
    assert answer.picture == b"\x00\xff"
    assert isinstance(answer.lines[0], Line)
    assert (answer.lines[0].article, answer.lines[0].price) == ("x", decimal.Decimal("1.50"))
    assert {header.body_class for header in headers} == {f"{__name__}.Order"}
    assert json.loads(text or "")["lines"] == [{"article": "x", "price": "1.50"}]


def test_a_persistent_message_is_named_from_outside(tmp_path: Path) -> None:
    body = {
        "number": "B2",
        "ordered": "2025-01-02 03:04:05",
        "lines": [{"article": "y", "price": 2.5}],
        "tags": [],
        "sizes": {},
        "picture": "AP8=",
    }

    with testing.production(orders(), tmp_path) as bus:
        message = bus.message("Order", body)
        answer = bus.request("Take", message)

    assert (answer.number, answer.amount) == ("B2", 2)
    assert answer.lines[0].price == decimal.Decimal("2.5")
    assert (answer.ordered, answer.picture) == (FULL["ordered"], b"\x00\xff")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"number": "C", "amout": 1}, "Order: unknown field 'amout': did you mean 'amount'"),
        ({"amount": 1}, "Missing required field 'number'"),
        ({"number": "C", "amount": "many"}, "Field 'amount' expected int, got str"),
        ({"number": "C", "lines": [{"artikel": "x"}]}, "Line: unknown field 'artikel'"),
        ({"number": "C", "ordered": "soon"}, "Order: .*'soon'"),
    ],
)
def test_a_field_that_does_not_fit_is_a_sentence(tmp_path: Path, body: Any, words: str) -> None:
    with testing.production(orders(), tmp_path) as bus, pytest.raises(BadRequest, match=words):
        bus.message("Order", body)


def test_a_queued_persistent_message_is_typed_after_a_restart(tmp_path: Path) -> None:
    with testing.production(orders(enabled=False), tmp_path) as bus:
        kept = bus.submit("Take", Order(**FULL))

    with testing.production(orders(), tmp_path) as bus:
        until(
            lambda: _status(bus, kept) == "Completed",
            "the order that was queued before the restart completed",
        )
        answer = list_messages(bus.production.store.engine)[0]

    assert (answer.type, answer.body_class) == ("Response", f"{__name__}.Order")


def _status(bus: testing.PythonDoor, message_id: int) -> str:
    header = bus.production.store.header(message_id)
    return header.status if header is not None else ""


def test_a_message_with_a_class_name_of_its_own_keeps_its_python_type(tmp_path: Path) -> None:
    with testing.production(orders(), tmp_path) as bus:
        answer = bus.request("Forward", Named(text="x"))

    assert isinstance(answer, Named)
    assert answer.text == "X"


def test_a_message_that_was_received_has_its_id_and_can_be_sent_on(tmp_path: Path) -> None:
    class Count(BusinessProcess):
        Output = target()

        def on_message(self, request: Named) -> Text:
            request.text += "!"
            answer = self.send_request_sync(self.Output, request)
            return Text(f"{request.get_iris_id()} {answer.text}")

    prod = Production("Test.Count")
    count, take = prod.process("Count", Count), prod.operation("Take", Take)
    prod.connect(count.Output, take)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Count", Named(text="x")) == Text("1 X!")


def test_the_object_that_iop_makes_of_a_model_travels_as_one(tmp_path: Path) -> None:
    class Greet(BusinessOperation):
        @iop.handler("Demo.Person")
        def person(self, request: Any) -> Any:
            assert request._IsA("Demo.Person")
            request.name = f"Dr {request.name}"
            return request

    class Ask(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Text:
            answer = self.send_request_sync(
                self.Output, Person(name=request.text, languages=["de"]).to_iris()
            )
            back = Person.from_iris(answer)
            assert back is not None
            return Text(f"{back.name} {back.languages}")

    prod = Production("Test.Greet")
    ask, greet = prod.process("Ask", Ask), prod.operation("Greet", Greet)
    prod.connect(ask.Output, greet)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Ask", Text("Who")) == Text("Dr Who ['de']")


def test_a_model_is_saved_found_changed_and_deleted_in_the_tables_database(tmp_path: Path) -> None:
    class Registry(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            Person(name="Ada", age=40, born=datetime.date(1980, 1, 2), languages=["en", "fr"]).save()
            worker = Person(name="Bob", company=Company(name="Ink", towns=["Ulm"]))
            worker.save()
            worker.age = 20
            worker.save()
            again = Person.get(str(worker.pk))
            assert again is not None
            assert again.company is not None
            [found] = Person.where(name="Ada", born=datetime.date(1980, 1, 2)).all()
            by_sql = list(iris.sql.exec("SELECT name, age FROM Demo_Person ORDER BY age"))
            deleted = again.delete()
            left = [person.name for person in Person.all()]
            return Text(
                json.dumps(
                    [again.age, again.company.towns, str(found.born), found.languages, by_sql, deleted, left]
                )
            )

    prod = Production("Test.Registry")
    prod.operation("Registry", Registry)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Registry", Text("x"))

    assert json.loads(answer.text) == [
        20, ["Ulm"], "1980-01-02", ["en", "fr"], [["Bob", 20], ["Ada", 40]], True, ["Ada"],
    ]  # fmt: skip


def test_a_model_that_was_never_saved_has_no_objects(tmp_path: Path) -> None:
    class Nobody(Model):
        name: str

    class Look(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            return Text(f"{Nobody.all()} {Nobody.get('1')}")

    prod = Production("Test.Look")
    prod.operation("Look", Look)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Look", Text("x")) == Text("[] None")


def test_what_a_model_needs_iris_for_is_a_sentence() -> None:
    from iris_persistence import get_runtime

    with pytest.raises(NeedsIris, match=r"Demo.Person.Rebuild\(\) needs InterSystems IRIS"):
        get_runtime().call_classmethod("Demo.Person", "Rebuild")
    with pytest.raises(NeedsIris, match=r"'%Dictionary.ClassDefinition' needs InterSystems IRIS"):
        get_runtime().new_object("%Dictionary.ClassDefinition")


def test_a_message_registered_in_classes_is_known_by_its_iris_name_too(tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text(
        "from iop import BusinessOperation, PersistentMessage, Production\n"
        "class Parcel(PersistentMessage):\n"
        "    weight: float = 0.0\n"
        "class Weigh(BusinessOperation):\n"
        "    def weigh(self, request: Parcel) -> Parcel:\n"
        "        return Parcel(weight=request.weight * 2)\n"
        "prod = Production('Test.Parcels')\n"
        "prod.operation('Weigh', Weigh)\n"
        "CLASSES = {'Demo.Parcel': Parcel}\n"
        "PRODUCTIONS = [prod]\n"
    )

    with testing.production(settings, tmp_path / "home") as bus:
        answer = bus.request("Weigh", bus.message("Demo.Parcel", {"weight": 1.5}))

    assert answer.weight == 3.0
