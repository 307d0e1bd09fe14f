"""Which reader a layout needs: the one place that knows every format."""

from __future__ import annotations

from collections.abc import Callable

from adapters.files.formats import columns, delimited, edi, fixed, xml
from adapters.files.layout import Layout
from adapters.files.parsing import Parser


def parsing(layout: Layout) -> Callable[[int | None], Parser]:
    """Makes readers of files, one for each pass; what they share is made here, once. The argument is `skim`: a position behind which
    only what can refuse the file need be read.
    """
    if layout.file.format == "xml":
        elements = xml.Plan(layout)
        return lambda skim: xml.XmlParser(elements, skim)
    if layout.edi:
        segments = edi.Plan(layout)
        return lambda skim: edi.EdiParser(segments, skim)
    if layout.file.columns:
        return columns.parsing(layout)
    if layout.file.record_length:
        return fixed.parsing(layout)
    rows = delimited.Plan(layout)
    return lambda skim: delimited.RowParser(rows, skim)
