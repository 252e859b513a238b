"""The life of a production: its items start, stop, grow, shrink and change while the others go on.

The order is that of IRIS. Start: operations, processes, services. Stop: services first, so that nothing new comes in;
then what somebody waits for is finished; then processes and operations end, and what nobody waits for stays queued.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from wattbus import words
from wattbus.energy.ledger import Ledger
from wattbus.errors import BadRequest, BadSettings, StoreError, UnknownName, WattbusError
from wattbus.runtime import changes, definition, overrides, standing
from wattbus.runtime.bus import Bus
from wattbus.runtime.changes import Changes
from wattbus.runtime.check import examine
from wattbus.runtime.host import Host
from wattbus.runtime.production import ItemConfig, ProductionConfig
from wattbus.runtime.standing import ItemStatus
from wattbus.runtime.types import MessageTypes
from wattbus.runtime.worker import Pool
from wattbus.store import item_settings, queues

START_ORDER = ("operation", "process", "service")
#: What an item gets to finish what it has in hand when it is stopped alone.
ITEM_GRACE_SECONDS = 30.0
_FIRST_LOOK_SECONDS = 0.01
_LONGEST_LOOK_SECONDS = 0.25
#: What the child processes of isolated items get to be gone once they are killed.
_CHILD_END_SECONDS = 5.0


class Grace:
    """The time that a stop may take; it can be cut short."""

    def __init__(self, seconds: float) -> None:
        # An operator waits for it, so it is time of the machine, whatever clock the production has.
        self._ends = time.monotonic() + seconds
        self._cut = threading.Event()
        self._look_seconds = _FIRST_LOOK_SECONDS

    def cut(self) -> None:
        """End it now."""
        self._cut.set()

    @property
    def left_seconds(self) -> float:
        return 0.0 if self._cut.is_set() else max(0.0, self._ends - time.monotonic())

    def pause(self) -> bool:
        """Wait a moment, each time a longer one; return False once the time is over."""
        self._cut.wait(min(self._look_seconds, self.left_seconds))
        self._look_seconds = min(_LONGEST_LOOK_SECONDS, self._look_seconds * 1.3)
        return self.left_seconds > 0


class Life:
    """The pools of one production."""

    def __init__(self, base: ProductionConfig, bus: Bus, ledger: Ledger) -> None:
        #: The production as settings.py has it; ``bus.production`` is that with what was changed while it ran.
        self.base = base
        self.pools: dict[str, Pool] = {}
        #: Tells whether the schedule of an item keeps it from running now.
        self.closes: Callable[[str], bool] = lambda name: False
        self._bus, self._ledger = bus, ledger
        self._turn = threading.RLock()  # one change at a time

    # -- the whole ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every enabled item."""
        with self._turn:
            for note in self.base.notes:
                if note.level in ("warning", "info"):
                    self._bus.log(note.level.capitalize(), note.sentence, note.item)
            for finding in examine(self.base):
                self._bus.log(finding.level.capitalize(), finding.sentence, finding.item)
            self._start([name for name in self._bus.production.items if not self.closes(name)])

    def stop(self, grace: Grace) -> bool:
        """Stop every item in IRIS's order and tell whether all have ended in time."""
        place = self._bus.place
        place.stopping.set()
        for pool in list(self.pools.values()):
            pool.hush()
        with self._turn:
            pools = list(self.pools.values())
            services = [pool for pool in pools if pool.host.item.kind == "service"]
            for pool in services:
                pool.leave()
            _join(services, grace)
            while self._in_the_way() and grace.pause():
                pass
            self._bus.store.release_workers()
            for pool in pools:
                pool.leave()
            return _join(pools, grace) or (place.end_children() and _join(pools, Grace(_CHILD_END_SECONDS)))

    def left(self) -> int:
        """Return how many messages are left that somebody waits for."""
        try:
            return sum(queues.awaited(self._bus.store.engine).values())
        except StoreError:
            return 1  # nobody can tell now: it is looked for at the next start

    def _in_the_way(self) -> bool:
        """Tell whether somebody waits for a message that an item can still finish."""
        try:
            awaited = queues.awaited(self._bus.store.engine)
        except StoreError:
            return False  # what ends now could not be stored
        return any(pool.works and name in awaited for name, pool in self.pools.items())

    # -- one item -----------------------------------------------------------------------------------------------

    def start_item(self, name: str) -> None:
        """Start an item that was stopped, or that could not start."""
        with self._turn:
            item = self._item(name)
            if not item.enabled:
                raise BadRequest(f"item {name!r} is disabled: enable it with `wattbus item enable {name}`.")
            if name not in self.pools or not self.pools[name].works:
                self._start([name])

    def stop_item(self, name: str, grace_seconds: float = ITEM_GRACE_SECONDS) -> str:
        """Let an item finish what it has in hand, keep its queue, and return its state: Stopped, or Stopping."""
        with self._turn:
            self._item(name)
            return self._stop([name], Grace(grace_seconds))

    def restart_item(self, name: str, grace_seconds: float = ITEM_GRACE_SECONDS) -> None:
        """Make the components of an item anew."""
        with self._turn:
            item = self._item(name)
            self._stop([name], Grace(grace_seconds))
            if item.enabled:
                self._start([name])

    def set_pool_size(self, name: str, size: int, by: str = "") -> None:
        """Let an item have so many workers, now and at the next start; nothing in hand is disturbed."""
        if size < 0:
            raise BadRequest(f"a pool of {size} cannot be: give 0 or more workers.")
        with self._turn:
            item = self._item(name)
            self._keep(name, "@PoolSize", str(size), by)
            self._adopt_item(replace(item, pool_size=size), "@PoolSize", str(size))
            pool = self.pools.get(name)
            if pool is not None and pool.state != "Stopped":
                pool.resize(size)
            elif item.enabled and size:
                self._start([name])

    def enable(self, name: str, on: bool, by: str = "") -> None:
        """Enable or disable an item, now and at the next start; a disabled one keeps what is sent to it."""
        with self._turn:
            item = self._item(name)
            self._keep(name, "@Enabled", definition.text(on), by)
            self._adopt_item(replace(item, enabled=on), "@Enabled", definition.text(on))
            if on and (name not in self.pools or not self.pools[name].works):
                self._start([name])
            elif not on:
                self._stop([name], Grace(ITEM_GRACE_SECONDS))

    def reset(self, name: str | None = None, by: str = "") -> list[str]:
        """Forget what was changed on the running production, of one item or of all: settings.py counts again."""
        if name is not None:
            self._item(name)
        with self._turn:
            engine, production = self._bus.store.engine, self.base.name
            stored = item_settings.read(engine, production)
            kept = {key: value for key, value in stored.items() if name is not None and key[0] != name}
            item_settings.replace(engine, production, kept, by)
            return self.update(self.base)

    def rewrite(self, edit: Callable[[definition.Flat], None], by: str) -> list[str]:
        """Change the definition that lies over settings.py, whole or not at all; return the items that it touched.

        ``edit`` is given the definition as it is deployed, and changes it.
        """
        if not self.base.definition:
            raise BadSettings("this production has no definition that could be changed: change its source.")
        engine, production = self._bus.store.engine, self.base.name
        with self._turn:
            base, stored = definition.flat(self.base.definition), item_settings.read(engine, production)
            values = definition.overlaid(base, stored)
            edit(values)
            overrides.configured(
                self.base, values, overrides.bindings(engine)
            )  # or says what is wrong with it
            item_settings.replace(engine, production, definition.changes(base, values), by)
            try:
                return self.update(self.base)
            except WattbusError:
                item_settings.replace(engine, production, stored, by)
                raise

    def disable_for_failure(self, name: str, reason: str) -> None:
        """Disable an item whose ReplyCodeActions say so; called by its own worker, which must not wait for itself."""

        def disable() -> None:
            try:
                if not self._bus.place.stopping.is_set():
                    self.enable(name, False, "its ReplyCodeActions")
            except WattbusError as error:
                self._bus.log("Error", f"{name} could not be disabled for good: {error}", name)

        self._bus.log("Error", f"disabled, its message is back in the queue: {reason}", name)
        self._bus.log(
            "Alert",
            f"item {name!r} was disabled by its ReplyCodeActions: {reason} Its messages are kept: mend the cause, then "
            f"`wattbus item enable {name}`.",
            name,
        )
        threading.Thread(target=disable, name=f"{name}#disable", daemon=True).start()

    # -- update -------------------------------------------------------------------------------------------------

    def update(self, base: ProductionConfig) -> list[str]:
        """Go on as ``base`` says: what has changed begins anew, the rest is not touched; return what was."""
        with self._turn:
            before = self._bus.production
            now = overrides.overridden(base, self._bus.store.engine)
            found = changes.between(before, now)
            now = _with_old_classes(now, before, found)
            types = MessageTypes.of(now, allow_pickle=self._bus.place.allow_pickle)
            # Nothing has happened until here: what cannot be read leaves everything as it was.
            anew = [name for name in found.changed if not self._was_stopped(name, before)]
            self._stop([*found.removed, *found.changed], Grace(ITEM_GRACE_SECONDS))
            for name in found.removed:
                self._forget(name)
            self.base = base
            self._bus.adopt(now, types)
            for name in found.resized:
                if name in self.pools and self.pools[name].state != "Stopped":
                    self.pools[name].resize(self._size(now.items[name]))
            self._start([name for name in (*anew, *found.added) if not self.closes(name)])
            if found.names:
                self._bus.log("Info", f"updated: {', '.join(found.names)}", "")
            return found.names

    def _was_stopped(self, name: str, before: ProductionConfig) -> bool:
        """Tell whether a person has stopped an item, which then stays stopped."""
        return before.items[name].enabled and name in self.pools and self.pools[name].state == "Stopped"

    def _forget(self, name: str) -> None:
        self.pools.pop(name, None)
        queued = queues.queued(self._bus.store.engine).get(name, 0)
        if queued:
            self._bus.log(
                "Warning",
                f"item {name!r} is not in the production any more: {words.counted(queued, 'message')} stay in its "
                "queue until it is back.",
                name,
            )

    # -- how it stands ------------------------------------------------------------------------------------------

    def items(self) -> list[ItemStatus]:
        """Return how each item stands, in the order of the production."""
        return standing.of(self.base, self._bus.production, self.pools, queues.queued(self._bus.store.engine))

    def works(self, name: str) -> bool:
        """Tell whether somebody is there to take an item's messages."""
        pool = self.pools.get(name)
        return pool is not None and pool.works

    def wait_ready(self, seconds: float) -> bool:
        """Wait until every item is ready or has said why not."""
        deadline = time.monotonic() + seconds
        return all(
            pool.wait_ready(max(0.0, deadline - time.monotonic())) for pool in list(self.pools.values())
        )

    # -- steps --------------------------------------------------------------------------------------------------

    def _item(self, name: str) -> ItemConfig:
        production = self._bus.production
        if name in production.skipped:
            raise BadRequest(f"item {name!r} does not run here: {production.skipped[name].sentence}")
        if name not in production.items:
            raise UnknownName("item", name, production.items)
        return production.items[name]

    def _start(self, names: list[str]) -> None:
        items = self._bus.production.items
        for kind in START_ORDER:
            for name in names:
                if items[name].kind == kind and items[name].enabled:
                    self._start_one(items[name])

    def _start_one(self, item: ItemConfig) -> None:
        self._bus.item_runs(item.name)  # or says again why it does not
        host = Host(item, self._bus, self._ledger)
        pool = Pool(host, self._bus, self._size(item), disable=self.disable_for_failure)
        self.pools[item.name] = pool
        pool.start()

    def _size(self, item: ItemConfig) -> int:
        if item.kind == "process" and item.pool_size == 0:
            return max(1, self.base.actor_pool_size)  # on IRIS it shares the actor pool
        return item.pool_size

    def _stop(self, names: list[str], grace: Grace) -> str:
        pools = [self.pools[name] for name in names if name in self.pools]
        for pool in pools:
            pool.leave()
        if _join(pools, grace):
            return "Stopped"
        for pool in pools:
            if pool.state == "Stopping":
                self._bus.log(
                    "Warning",
                    "still busy after its grace: it ends when what it has in hand is done",
                    pool.host.name,
                )
        return "Stopping"

    def _adopt_item(self, item: ItemConfig, key: str, value: str) -> None:
        production = self._bus.production
        now = production.definition
        if now:
            now = definition.nested({**definition.flat(now), (item.name, key): value})
        items = {**production.items, item.name: item}
        self._bus.adopt(replace(production, items=items, definition=now), self._bus.types)

    def _keep(self, item: str, name: str, value: str, by: str) -> None:
        """Store a change, so that it counts at the next start too; what settings.py says anyway is not stored."""
        base = definition.flat(self.base.definition) if self.base.definition else {}
        said = base.get((item, name), "")
        stored = None if said == value else json.dumps(value)
        item_settings.put(self._bus.store.engine, self.base.name, item, name, stored, by)


def _join(pools: list[Pool], grace: Grace) -> bool:
    while not all(pool.join(0.0) for pool in pools):
        if not grace.pause():
            return all(pool.join(0.0) for pool in pools)
    return True


def _with_old_classes(now: ProductionConfig, before: ProductionConfig, found: Changes) -> ProductionConfig:
    """Return a production whose unchanged items go on with the class that they have, though the file was read again."""
    items = dict(now.items)
    for name, old in before.items.items():
        if name in items and name not in found.changed:
            items[name] = replace(items[name], component=old.component, adapter=old.adapter)
    return replace(now, items=items)
