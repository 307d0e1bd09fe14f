"""Who may ask how often: the port, the ledgers that fulfil it, and what callers and operators are told."""

from contracts.quota import Costs, Limit, Quota
from gateway.edge.quota.fields import unwelcome
from gateway.edge.quota.memory import MemoryQuotas
from gateway.edge.quota.port import ANONYMOUS, Gauge, Near, Quotas, Taken
from gateway.edge.quota.shared import SharedQuotas
from gateway.edge.quota.subject import about, address, parameters, store

__all__ = [
    "ANONYMOUS",
    "Costs",
    "Gauge",
    "Limit",
    "MemoryQuotas",
    "Near",
    "Quota",
    "Quotas",
    "SharedQuotas",
    "Taken",
    "about",
    "address",
    "parameters",
    "store",
    "unwelcome",
]
