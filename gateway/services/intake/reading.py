"""Transactions of one file become sales or reports of stock, in the parser's thread; what cannot become one is set aside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from contracts.books import PreparedSale, Quarantined, Report
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import InventoryLevel, StockMovement
from contracts.canonical.sale import PosSale
from contracts.errors import BadRecord, ContractViolation
from gateway.services.intake.feed import Feed, File, Record, StoreZones
from gateway.services.intake.normal_form import NotNormal, normal_form
from mappings.language import CompiledMapping, ReadContext

Read = tuple[int, PosSale | PreparedSale | Report | Quarantined | None]
"""A position, and what became of the transaction there (None: the mapping leaves it out)."""
AHEAD = timedelta(days=1)
"""A level of a moment further in the future is a mistake, and would stand against all that are true until then."""
BEHIND = timedelta(days=3_653)
"""So old a level is a mistake too."""


class Reader:
    """Turns transactions of one file into what is booked, in the parser's thread; what cannot become that is set aside."""

    def __init__(
        self,
        feed: Feed,
        mapping: CompiledMapping,
        zones: StoreZones,
        file: File,
        now: datetime,
        count: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._count = count
        self._digest, self._now = file.digest, now
        self._dialect, self._zones = feed.dialect, zones
        self.drifted = 0
        origin = Provenance(
            source_system=feed.system,
            as_of=datetime.fromtimestamp(file.modified, UTC),
            received_at=now,
            via="file",
            source_record=file.name,
            mapping_version=mapping.version,
        )
        self._context = ReadContext(
            feed.system,
            feed.name,
            now,
            provenance=(origin,),
            zone_of=zones.of,
            drift=self.drift,
            location_of=zones.location,
            parameters=feed.parameters,
        )
        self._read = mapping.row_reader(self._context)
        self.written = feed.written(mapping, zones.of)

    def drift(self, kind: str, path: str, value: str = "") -> None:
        self.drifted += 1
        if self._count is not None:
            self._count(kind, path, value)

    def __call__(self, record: Record) -> Read:
        if record.bad is not None:
            return record.position, self._aside(record, record.bad)
        drifted = self.drifted
        try:
            sale = self._read(record.row)
            if sale is None:
                return record.position, None
            if isinstance(sale, StockMovement | InventoryLevel):
                return record.position, self._placed(sale)
            zone = self._zones.of(sale.key.store_number)
            found = normal_form(sale, self._dialect, zone.key if zone else None)
            if record.text and found is sale and drifted == self.drifted and self.written is not None and record.row is not None:
                self.written.learn(record.text, record.row, sale)
            return record.position, found
        except ContractViolation as error:
            return record.position, self._aside(record, _bad(record.file, record.line, error.where, error.expected, error.got))
        except NotNormal as error:
            return record.position, self._aside(record, _bad(record.file, record.line, error.field, error.expected, error.got))

    def _placed(self, report: Report) -> Report:
        """At the place by its number, whatever the report calls it, and a level at its moment in the place's own time. Raises NotNormal for
        a place that is not known, and for a level that says nothing or not of when.
        """
        if isinstance(report, StockMovement):
            number, _ = self._place("key.location_id", report.key.location_id)
            return report if number == report.key.location_id else replace(report, key=replace(report.key, location_id=number))
        number, zone = self._place("location_id", report.location_id)
        if (at := report.as_of) is None or not self._now - BEHIND < at < self._now + AHEAD:
            raise NotNormal("as_of", "the moment of the report, of the last ten years", at.isoformat() if at else "none")
        if report.on_hand is None and report.available is None:
            raise NotNormal("on_hand", "a figure of what is there, or of what is available", "neither")
        at = at.astimezone(zone)
        return replace(report, location_id=number, as_of=at, provenance=tuple(replace(each, as_of=at) for each in report.provenance))

    def _place(self, field: str, name: str) -> tuple[str, ZoneInfo]:
        found, zone = self._zones.location(name), self._zones.of(name)
        if zone is None:
            raise NotNormal(field, "a location that the estate knows, by number or GLN", repr(name))
        return (found.number if found is not None else name), zone

    def _aside(self, record: Record, bad: BadRecord) -> Quarantined:
        return Quarantined(
            digest=self._digest,
            file=record.file,
            position=record.position,
            line=bad.line,
            field=bad.field,
            expected=bad.expected,
            got=bad.got,
            reason=f"{bad.field or 'row'}: expected {bad.expected}, got {bad.got}",
            raw=record.raw(),
            around=record.around(),
        )


def _bad(file: str, line: int, field: str, expected: str, got: str) -> BadRecord:
    return BadRecord(file=file, line=line, field=field, expected=expected, got=got)
