"""The figures for Prometheus: ``/metrics``, for a viewer's token."""

from __future__ import annotations

from fastapi.responses import Response

from wattbus import __version__
from wattbus.access import Role
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import Twins


def add(twins: Twins, desk: Desk) -> None:
    """Open the address."""

    def metrics() -> Response:
        """Return the figures of now in Prometheus's text form."""
        from wattbus.export import prometheus

        running = desk.running
        production = running.production.name if running else desk.director.get_default_production()
        return Response(
            prometheus.exposition(running, production, __version__), media_type=prometheus.CONTENT_TYPE
        )

    twins.pages.add_api_route("/metrics", metrics, methods=["GET"], dependencies=[needs(Role.VIEWER)])
