"""Transactions of one file become sales or movements of stock, in the parser's thread; what cannot become one is set aside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec.structs import replace

from contracts.books import PreparedSale, Quarantined
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import StockMovement
from contracts.canonical.sale import PosSale
from contracts.errors import BadRecord, ContractViolation
from gateway.services.intake.feed import Feed, File, Record, StoreZones
from gateway.services.intake.normal_form import NotNormal, normal_form
from mappings.language import CompiledMapping, ReadContext

Read = tuple[int, PosSale | PreparedSale | StockMovement | Quarantined | None]
"""A position, and what became of the transaction there (None: the mapping leaves it out)."""


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
        self._digest = file.digest
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
            if isinstance(sale, StockMovement):
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

    def _placed(self, movement: StockMovement) -> StockMovement:
        """At the place by its number, whatever the report calls it. Raises NotNormal for one that is not known."""
        place = movement.key.location_id
        if (found := self._zones.location(place)) is not None and found.number != place:
            return replace(movement, key=replace(movement.key, location_id=found.number))
        if self._zones.of(place) is None:
            raise NotNormal("key.location_id", "a location that the estate knows, by number or GLN", repr(place))
        return movement

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
