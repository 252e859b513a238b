"""What watches a production reads a store on PostgreSQL as it reads one in a file."""

from __future__ import annotations

import contextlib
from pathlib import Path

from doors import open_door

from components import Text, echo_production
from wattbus.errors import RequestFailed


def test_every_page_that_watches_reads_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with open_door(tmp_path, echo_production(AlertOnError=1), store_url=postgres_url) as ask:
        running = ask.director.current()
        running.request("Relay", Text("hello"))
        with contextlib.suppress(RequestFailed):
            running.request("Echo", Text("boom"))
        running.stop_item("Echo")
        waiting = running.submit("Echo", Text("later"))
        running.store.flush()

        log = ask("GET", "/api/v1/log?type=Error&type=Info&contains=boom&since=1h").said["page"]["lines"]
        errors = ask("GET", "/api/v1/log?type=Error").said["page"]["lines"]
        queue = ask("GET", "/api/v1/queues/Echo").said
        further = ask("GET", f"/api/v1/queues/Echo?after=6.{waiting}").said
        tried = ask("GET", "/api/v1/attempts?outcome=error").said["page"]["attempts"]
        earlier = ask("GET", f"/api/v1/attempts?before={tried[0]['message_id']}.1").said["page"]["attempts"]
        aborted = ask("POST", "/api/v1/queues/Echo/abort", {"ids": [waiting]}).said
        purge = ask("GET", "/api/v1/purge?older_than=0s").said
        metrics = ask("GET", "/metrics")
        others = [ask.page(path).status for path in ("/jobs", "/alerts", "/doctor", "/queues", "/log")]

    assert len(errors) == 1 and len(log) >= 1
    assert [one["id"] for one in queue["waiting"]] == [waiting]
    assert queue["queue"]["oldest_id"] == waiting
    assert further["waiting"] == []
    assert tried[0]["error_status"] == "ValueError: the text is boom"
    assert len(earlier) >= 4
    assert aborted["changed"] == [waiting]
    assert purge["kept"]["store_bytes"] > 0
    assert purge["preview"]["would"]["sessions"] >= 1
    assert "wattbus_conservation_astray_messages 0.0" in metrics.said
    assert others == [200] * 5
