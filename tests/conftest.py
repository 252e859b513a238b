"""What all tests share: an environment without leaks, a home, a PostgreSQL schema, the official BoAmps schemas."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

# Read by libraries when they are imported, so it must stand before the first test does.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# No test reaches the real hub. Not HF_HUB_OFFLINE: that would also keep the client from the fake hub on loopback.
os.environ["HF_ENDPOINT"] = NO_HUB = "http://127.0.0.1:9"

import psycopg
import pytest

from wattbus.home import Home

ROOT = Path(__file__).parent.parent
POSTGRES = os.environ.get("WATTBUS_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
SHARED = Path(os.environ.get("WATTBUS_SHARED") or ROOT.parent / "shared")
SECRETS_OF_THE_USER = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


def missing(what: str) -> None:
    """Skip a test for want of a service; in CI, where the service must be there, fail."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{what} (CI is set: required services must be there)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the user's own settings and tokens, and let no test write into the current folder's home."""
    for name in (*os.environ, *SECRETS_OF_THE_USER):
        if name.startswith("WATTBUS_") or name in SECRETS_OF_THE_USER:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WATTBUS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", NO_HUB)
    monkeypatch.setenv("WATTBUS_SUPERVISOR", "off")  # what a test kills stays dead
    monkeypatch.setenv("WATTBUS_PORT", "0")  # a free one: tests run beside each other


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of its own, made; the one that WATTBUS_HOME names."""
    return Home(tmp_path / "home").create()


@pytest.fixture
def shared() -> Path:
    """The folder that holds the official BoAmps schemas."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder of official schemas: set WATTBUS_SHARED (looked at {SHARED})")
    return SHARED


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The address of an empty schema on a real PostgreSQL, dropped afterwards."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        missing(f"no PostgreSQL at {POSTGRES}: {str(error).splitlines()[0]}")
        return
    with connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            yield f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}options=-csearch_path%3D{schema}"
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
