"""The memory: record, roll up, keep, export, show. Other rooms need the names below and nothing else.

with recorder.flight("request", "GET /inventory", channel="web") as record:   # at the edge, in workers, in file intake
    with step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=1) as hop:   # everywhere
        hop.set(status=200)
"""

from observability.flight import FlightRecord, Hop, current, current_hop, step
from observability.logs import get_logger
from observability.recorder import Recorder
from observability.vocabulary import Step

__all__ = ["FlightRecord", "Hop", "Recorder", "Step", "current", "current_hop", "get_logger", "step"]
