"""One place for every limit around a call: retry budget, breaker, bulkhead, an attempt's own deadline."""

from adapters.guard.breaker import BreakerState
from adapters.guard.bulkhead import Bulkhead
from adapters.guard.guard import Guard, GuardState
from adapters.guard.retry import RetryBudget

__all__ = ["BreakerState", "Bulkhead", "Guard", "GuardState", "RetryBudget"]
