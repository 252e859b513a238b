"""The ready-made services: dropped files, new rows of a table, a timer, and what comes in by HTTP."""

from wattbus.services.file_drop import FileDropService
from wattbus.services.http import HTTPService
from wattbus.services.sql_poll import SQLPollService
from wattbus.services.timer import TimerService

__all__ = ["FileDropService", "HTTPService", "SQLPollService", "TimerService"]
