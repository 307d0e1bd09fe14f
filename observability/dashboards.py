"""A Grafana dashboard and Prometheus alert rules over the metrics of a gateway, made from the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from observability.vocabulary import FAILURE_CLASSES

BAD: Final = [c for c in FAILURE_CLASSES if c != "caller"]
"""A caller's own mistakes make no request a bad one."""
_OF: Final = f'class=~"{"|".join(BAD)}"'
_WINDOW: Final = "$__rate_interval"
_NAME: Final = re.compile(r"\btillgate_[a-z0-9_]+")


class Panel(NamedTuple):
    title: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend."""
    unit: str = "short"
    help: str = ""
    stack: bool = False


class Alert(NamedTuple):
    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    advice: str


def _rate(metric: str, by: str, where: str = "", window: str = _WINDOW) -> str:
    return f"sum by ({by}) (rate(tillgate_{metric}{{{where}}}[{window}]))"


def _share(part: str, counted: str, by: str, where: str = "", window: str = _WINDOW, of: str = "") -> str:
    """Of all of them, with nothing where nothing came."""
    chosen = ",".join(filter(None, (of, where)))
    return f"{_rate(f'{counted}_{part}', by, chosen, window)} / ({_rate(f'{counted}_{_N}', by, where, window)} > 0)"


def _quantile(q: float, counted: str, by: str, where: str) -> str:
    return f"histogram_quantile({q}, {_rate(f'{counted}_duration_seconds_bucket', f'{by}, le', where)})"


_ANY: Final = 'channel!=""'
_N: Final = "duration_seconds_count"
_CHANNEL: Final = 'channel=~"$channel",channel!=""'
_SYSTEM: Final = 'system=~"$system"'
_BY: Final = "system, operation"
_OPERATION: Final = "{{system}} {{operation}}"

_FELT: Final = (
    Panel("Requests by channel", ((_rate(f"flight_{_N}", "channel", _CHANNEL), "{{channel}}"),), "reqps"),
    Panel(
        "Share that failed, by channel",
        ((_share("failures_total", "flight", "channel", _CHANNEL, of=_OF), "{{channel}}"),),
        "percentunit",
        "Failed requests of all; callers' own mistakes are not failures.",
    ),
    Panel("Share that was late, by channel", ((_share("late_total", "flight", "channel", _CHANNEL), "{{channel}}"),), "percentunit"),
    Panel("95th percentile by route", ((_quantile(0.95, "flight", "route", _CHANNEL), "{{route}}"),), "s"),
    Panel(
        "Failures by class",
        tuple((f'sum(rate(tillgate_flight_failures_total{{class="{c}",{_CHANNEL}}}[{_WINDOW}]))', c) for c in FAILURE_CLASSES),
        "reqps",
        "caller: the callers' own mistakes.",
        stack=True,
    ),
    Panel("Stale or partial answers", ((_rate("flight_degraded_total", "route", _CHANNEL), "{{route}}"),), "reqps"),
)

_ANSWERED: Final = (
    Panel("Calls by operation", ((_rate(f"call_{_N}", _BY, _SYSTEM), _OPERATION),), "reqps"),
    Panel("Share that failed, by operation", ((_share("failures_total", "call", _BY, _SYSTEM, of=_OF), _OPERATION),), "percentunit"),
    Panel("95th percentile by operation", ((_quantile(0.95, "call", _BY, _SYSTEM), _OPERATION),), "s"),
    Panel(
        "Tries for each call",
        ((f"{_rate('attempts_total', 'system', _SYSTEM)} / ({_rate(f'call_{_N}', 'system', _SYSTEM)} > 0)", "{{system}}"),),
        help="1: nothing is tried again.",
    ),
    Panel("Breakers", ((f"max by ({_BY}) (tillgate_breaker_open{{{_SYSTEM}}})", _OPERATION),), help="1 open, 0.5 half open, 0 closed."),
    Panel("Waiting for a place", ((f"sum by (system) (tillgate_bulkhead_waiting{{{_SYSTEM}}})", "{{system}}"),)),
    Panel("Bad requests by whose doing they were", ((f"topk(10, {_rate('blamed_total', _BY)})", _OPERATION),), "reqps"),
)

_OWN: Final = (
    Panel(
        "Worked on, of the limit",
        (("sum(tillgate_edge_busy)", "busy"), ("sum(tillgate_edge_limit)", "limit"), ("sum(tillgate_edge_waiting)", "waiting")),
    ),
    Panel("Events not delivered yet", (("max(tillgate_outbox_depth)", "outbox"),)),
    Panel("Kept flights by reason", ((_rate("flights_kept_total", "reason"), "{{reason}}"),), "reqps", stack=True),
    Panel("Telemetry that was lost, by place", ((_rate("telemetry_lost_total", "place"), "{{place}}"),)),
)

PANELS: Final = (("What channels feel", _FELT), ("What systems answer", _ANSWERED), ("The gateway itself", _OWN))

ALERTS: Final = (
    Alert(
        "TillgateChannelFails",
        f"{_share('failures_total', 'flight', 'channel', _ANY, '5m', _OF)} > 0.05",
        "2m",
        "page",
        "{{ $labels.channel }}: {{ $value | humanizePercentage }} of its requests fail",
        "tillgate why",
    ),
    Alert(
        "TillgateOperationFails",
        f"{_share('failures_total', 'call', _BY, '', '5m', _OF)} > 0.2",
        "2m",
        "page",
        "{{ $labels.system }} {{ $labels.operation }}: {{ $value | humanizePercentage }} of its calls fail",
        "tillgate map estate --down {{ $labels.system }}",
    ),
    Alert(
        "TillgateBreakerOpen",
        "max by (system, operation) (tillgate_breaker_open) == 1",
        "1m",
        "ticket",
        "{{ $labels.system }} {{ $labels.operation }}: the breaker is open",
        "tillgate why",
    ),
    Alert(
        "TillgateRefusesRequests",
        "sum(rate(tillgate_edge_refused[5m])) > 1",
        "2m",
        "page",
        "{{ $value | humanize }} requests a second are shed for want of room",
        "the page Overview says what takes so long",
    ),
    Alert(
        "TillgateEventsWait",
        "max(tillgate_outbox_depth) > 1000",
        "10m",
        "ticket",
        "{{ $value | humanize }} events are not delivered",
        "is the broker there, and does somebody read the queues?",
    ),
    Alert(
        "TillgateTelemetryLost",
        'sum by (place) (rate(tillgate_telemetry_lost_total{place!="over_budget"}[15m])) > 0',
        "15m",
        "ticket",
        "telemetry is lost at {{ $labels.place }}",
        "verdicts get less sure: see what could not be seen",
    ),
    Alert(
        "TillgateEstateRefused",
        "max(tillgate_estate_refused) == 1",
        "5m",
        "ticket",
        "a changed estate has mistakes and is not in use",
        "tillgate check",
    ),
    Alert(
        "TillgateGone",
        'absent(tillgate_estate_generation) or up{job="tillgate"} == 0',
        "1m",
        "page",
        "no gateway answers",
        "is the process there?",
    ),
)


def metrics() -> set[str]:
    """Every metric that the dashboard or a rule names."""
    return {name for expression in _expressions() for name in _NAME.findall(expression)}


def _expressions() -> Iterator[str]:
    yield from (expression for _, panels in PANELS for panel in panels for expression, _ in panel.queries)
    yield from (alert.expression for alert in ALERTS)


def dashboard() -> bytes:
    """For Grafana 10 and later: import it and choose the Prometheus that scrapes the gateways."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, group in PANELS:
        place = {"x": 0, "y": y, "w": 24, "h": 1}
        panels.append({"type": "row", "title": heading, "id": len(panels) + 1, "gridPos": place, "collapsed": False, "panels": []})
        y += 1
        for number, panel in enumerate(group):
            custom = {"stacking": {"mode": "normal" if panel.stack else "none"}, "fillOpacity": 12, "showPoints": "never"}
            panels.append(
                {
                    "type": "timeseries",
                    "id": len(panels) + 1,
                    "title": panel.title,
                    "description": panel.help,
                    "datasource": source,
                    "gridPos": {"x": number % 3 * 8, "y": y + number // 3 * 8, "w": 8, "h": 8},
                    "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
                    "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                    "targets": [
                        {"refId": chr(65 + n), "datasource": source, "expr": each, "legendFormat": legend, "exemplar": "_bucket" in each}
                        for n, (each, legend) in enumerate(panel.queries)
                    ],
                }
            )
        y += -(-len(group) // 3) * 8
    whole = {
        "title": "Tillgate",
        "uid": "tillgate",
        "tags": ["tillgate"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                _choice("channel", 'label_values(tillgate_flight_duration_seconds_count{channel!=""}, channel)'),
                _choice("system", "label_values(tillgate_call_duration_seconds_count, system)"),
            ]
        },
        "panels": panels,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _choice(name: str, query: str) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "name": name,
        "type": "query",
        "datasource": source,
        "query": query,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "refresh": 2,
    }


def rules() -> bytes:
    """For `rule_files` of Prometheus: YAML whose values are written as JSON, which every YAML reader takes."""
    lines = ["# Generated: ./run publish", "groups:", "  - name: tillgate", "    rules:"]
    for alert in ALERTS:
        said = {"summary": alert.summary, "description": alert.advice}
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {_text(alert.expression)}",
            f"        for: {alert.lasts}",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            *(f"          {key}: {_text(value)}" for key, value in said.items()),
        ]
    return ("\n".join(lines) + "\n").encode()


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()
