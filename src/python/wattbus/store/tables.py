"""The tables: headers, bodies, attempts, processes, jobs, event log, energy, settings with their history.

Times are microseconds since the epoch, UTC. A message id is also its place in the order of acceptance.
The words of the header are those of an IRIS message header.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# SQLite gives an integer key its rowid only under the name INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class Status(StrEnum):
    """Where a message stands; every message is in exactly one of these."""

    CREATED = "Created"
    QUEUED = "Queued"
    DELIVERED = "Delivered"
    DEFERRED = "Deferred"
    COMPLETED = "Completed"
    SUSPENDED = "Suspended"
    DISCARDED = "Discarded"
    ABORTED = "Aborted"
    ERROR = "Error"


OPEN_STATUSES = (Status.CREATED, Status.QUEUED, Status.DELIVERED, Status.DEFERRED)


class Priority:
    """Lower is served first; the values are those of IRIS."""

    HIGH_SYNC = 1
    SYNC = 2
    SIM_SYNC = 4
    ASYNC = 6


class Outcome(StrEnum):
    """How an attempt ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    WORKER_LOST = "worker lost"
    PUT_BACK = "put back"
    RETRY = "retry"
    SUSPENDED = "suspended"
    DEFERRED = "deferred"


#: Which messages are trainings, as a condition of SQL.
TRAININGS = "body_class = 'wattbus.messages.TrainRequest' AND type = 'Request'"

messages = Table(
    "messages",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("session_id", BigInteger, nullable=False),
    Column("super_session", String(64)),
    Column("parent_id", BigInteger),  # the message whose handling sent this one
    Column("corresponding_id", BigInteger),  # of a response: its request; of a request: its response
    Column("type", String(8), nullable=False),  # Request, Response
    Column("invocation", String(8), nullable=False),  # Queue, InProc
    Column("source_item", String(128), nullable=False),
    Column("source_business_type", String(20), nullable=False),
    Column("target_item", String(128), nullable=False),
    Column("target_business_type", String(20), nullable=False),
    Column("target_queue", String(128), nullable=False),
    Column("return_queue", String(128)),
    Column("body_class", String(256), nullable=False),
    Column("body_id", BigInteger),
    Column("description", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", String(12), nullable=False),
    Column("is_error", Boolean, nullable=False),
    Column("error_status", Text),
    Column("resent", String(16)),
    Column("attempts", Integer, nullable=False),
    Column("not_before_us", BigInteger, nullable=False),
    Column("response_required", Boolean, nullable=False),
    Column("completion_key", String(256)),
    Column("idempotency_key", String(128)),
    Column("time_created_us", BigInteger, nullable=False),
    Column("time_processed_us", BigInteger),
    Index("messages_by_session", "session_id"),
    Index(
        "messages_ready",
        "target_queue",
        "priority",
        "id",
        sqlite_where=text("status = 'Queued'"),
        postgresql_where=text("status = 'Queued'"),
    ),
    Index(
        "messages_by_idempotency_key",
        "idempotency_key",
        unique=True,
        sqlite_where=text("idempotency_key IS NOT NULL"),
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    # Few rows: what was sent again, with the body that it shares, and the dead letters.
    Index(
        "messages_resent",
        "resent",
        "body_id",
        sqlite_where=text("resent IS NOT NULL"),
        postgresql_where=text("resent IS NOT NULL"),
    ),
    Index(
        "messages_dead",
        "target_item",
        "id",
        sqlite_where=text("status IN ('Error', 'Suspended')"),
        postgresql_where=text("status IN ('Error', 'Suspended')"),
    ),
    # The newest of them, whatever their item.
    Index(
        "messages_dead_by_id",
        "id",
        sqlite_where=text("status IN ('Error', 'Suspended')"),
        postgresql_where=text("status IN ('Error', 'Suspended')"),
    ),
    # The trainings, a handful among any number of other messages.
    Index("messages_trainings", "id", sqlite_where=text(TRAININGS), postgresql_where=text(TRAININGS)),
)

bodies = Table(
    "bodies",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),  # the id of the first message that carried it
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("json", Text),  # None: in the bodies folder, under its sha256
    Index(
        "bodies_out_of_line",
        "sha256",
        sqlite_where=text("json IS NULL"),
        postgresql_where=text("json IS NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("message_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("item", String(128), nullable=False),
    Column("job", String(64), nullable=False),
    Column("instance", String(32), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("lease_until_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("duration_seconds", Float),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text),
    PrimaryKeyConstraint("message_id", "number"),
    Index(
        "attempts_running",
        "instance",
        sqlite_where=text("outcome = 'running'"),
        postgresql_where=text("outcome = 'running'"),
    ),
)

processes = Table(
    "processes",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),  # the request that it handles
    Column("item", String(128), nullable=False),
    Column(
        "version", Integer, nullable=False
    ),  # grows with each response handled: two workers cannot both be right
    Column("waiting", Integer, nullable=False),  # responses that are still to come
    Column("response_class", String(256), nullable=False),
    Column("response_json", Text),
    Column("properties", Text, nullable=False),  # JSON object: what the component keeps between two responses
    Index("processes_by_item", "item"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("production", String(128), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", String(128), nullable=False),
    Column("status", String(12), nullable=False),  # Running, Stopped, Suspended, Troubled
    Column("started_us", BigInteger, nullable=False),
    Column("heartbeat_us", BigInteger, nullable=False),
    Column("stopped_us", BigInteger),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("instance", String(32), nullable=False),
    Column("item", String(128), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("ready_us", BigInteger),  # when on_init returned: until then messages wait in the queue
    Column("error", Text),
    Index("jobs_by_item", "item", "started_us"),
)

event_log = Table(
    "event_log",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),
    Column("type", String(8), nullable=False),  # Assert Error Warning Info Trace Alert Status
    Column("item", String(128), nullable=False),
    Column("job", String(64), nullable=False),
    Column("message_id", BigInteger),
    Column("session_id", BigInteger),
    Column("source_class", String(128)),
    Column("source_method", String(128)),
    Column("text", Text, nullable=False),
    Index("event_log_by_session", "session_id"),
    # Few rows: what somebody looks for.
    Index(
        "event_log_grave",
        "type",
        "id",
        sqlite_where=text("type IN ('Alert', 'Assert', 'Error', 'Warning')"),
        postgresql_where=text("type IN ('Alert', 'Assert', 'Error', 'Warning')"),
    ),
    # Few rows: what was changed through the HTTP door, and who was refused there.
    Index(
        "event_log_audit",
        "id",
        sqlite_where=text("source_class = 'Audit'"),
        postgresql_where=text("source_class = 'Audit'"),
    ),
)

energy = Table(
    "energy",
    metadata,
    Column("message_id", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("scope", String(8), nullable=False),
    Column("item", String(128), nullable=False),
    Column("operation_kind", String(64)),
    Column("model", String(128)),
    Column("revision", String(128)),
    Column("started_at_us", BigInteger, nullable=False),
    Column("duration_seconds", Float),
    Column("cpu_seconds", Float),
    Column("gpu_seconds", Float),
    Column("energy_joules", Float),
    Column("cpu_joules", Float),
    Column("gpu_joules", Float),
    Column("ram_joules", Float),
    Column("low_joules", Float),
    Column("high_joules", Float),
    Column("carbon_grams", Float),
    Column("carbon_intensity_g_per_kwh", Float),
    Column("carbon_source", Text),
    Column("tier", String(20), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("method", Text),
    Column("partial", Boolean, nullable=False),
    Column("facts", JSON(none_as_null=True)),
    PrimaryKeyConstraint("message_id", "attempt", "scope"),
    Index(
        "energy_pending",
        "status",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
    Index("energy_by_time", "started_at_us"),
)

energy_intervals = Table(
    "energy_intervals",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("instance", String(32), nullable=False),
    Column("started_at_us", BigInteger, nullable=False),
    Column("duration_seconds", Float, nullable=False),
    Column("total_joules", Float, nullable=False),
    Column("operations_joules", Float, nullable=False),
    Column("idle_joules", Float, nullable=False),
    Column("others_joules", Float, nullable=False),
    Column("overhead_joules", Float, nullable=False),
    Column("tier", String(20), nullable=False),
    Column("method", Text, nullable=False),
    Column("host", String(128), nullable=False, server_default=""),  # the machine that was read
    Index("energy_intervals_by_time", "started_at_us"),
)

# Where processes share a store: which of those on one machine counts what the machine uses.
energy_readers = Table(
    "energy_readers",
    metadata,
    Column("machine", String(64), primary_key=True),  # its running kernel, the same in all its containers
    Column("instance", String(32), nullable=False),
    Column("host", String(128), nullable=False),
    Column("tier", String(20), nullable=False),
    Column("method", Text, nullable=False),
    Column("counted_until_us", BigInteger, nullable=False),
)

# What the records of each hour add up to, kept once the hour is over; always to be made again from the records.
energy_hours = Table(
    "energy_hours",
    metadata,
    Column("hour_us", BigInteger, nullable=False),  # when the hour began, UTC
    Column("item", String(128), nullable=False),
    Column("operation_kind", String(64)),
    Column("model", String(128)),
    Column("revision", String(128)),
    Column("scope", String(8), nullable=False),
    Column("tier", String(20), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("unknown", BigInteger, nullable=False),
    Column("joules", Float),
    Column("low_joules", Float),
    Column("high_joules", Float),
    Column("bounded", BigInteger, nullable=False),  # how many of the known have bounds
    Column("cpu_seconds", Float),
    Column("duration_seconds", Float),
    Column("requests", BigInteger),  # answered by the inferences of known energy
    Column("carbon_grams", Float),
    Column("with_carbon", BigInteger, nullable=False),
    Index("energy_hours_by_time", "hour_us"),
)

# The same of the readings of the power feed.
energy_bucket_hours = Table(
    "energy_bucket_hours",
    metadata,
    Column("hour_us", BigInteger, nullable=False),
    Column("host", String(128), nullable=False, server_default=""),
    Column("tier", String(20), nullable=False),
    Column("method", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("total_joules", Float, nullable=False),
    Column("operations_joules", Float, nullable=False),
    Column("idle_joules", Float, nullable=False),
    Column("others_joules", Float, nullable=False),
    Column("overhead_joules", Float, nullable=False),
    Index("energy_bucket_hours_by_time", "hour_us"),
)

settings = Table(
    "settings",
    metadata,
    Column("production", String(128), nullable=False),
    Column("item", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("value", Text, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("production", "item", "name"),
)

settings_history = Table(
    "settings_history",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("production", String(128), nullable=False),
    Column("item", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("before", Text),  # as in settings.value; None: settings.py counted
    Column("after", Text),
    Column("changed_us", BigInteger, nullable=False),
    Column("changed_by", String(128), nullable=False),
    Index("settings_history_by_item", "production", "item", "id"),
)

saved_searches = Table(
    "saved_searches",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("filter", Text, nullable=False),
    Column("saved_by", String(128), nullable=False),
    Column("saved_us", BigInteger, nullable=False),
)

# Label profiles, analyses, imported runs: each version stays as it was saved.
documents = Table(
    "documents",
    metadata,
    Column("kind", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("made_us", BigInteger, nullable=False),
    Column("made_by", String(128), nullable=False),
    PrimaryKeyConstraint("kind", "name", "version"),
)
