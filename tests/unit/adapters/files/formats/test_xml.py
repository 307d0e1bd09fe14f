import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.files.formats.xml import Plan, XmlParser
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Ending, Refuse, Unit

POSLOG = (Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml").read_text("utf-8")
FACTS = {"store": "0002", "business_date": "20260311", "file_no": "00001"}
SALE = (
    "<Transaction{flags}><RetailStoreID>0002</RetailStoreID><WorkstationID>001</WorkstationID><SequenceNumber>{no}</SequenceNumber>"
    "<BusinessDayDate>2026-03-11</BusinessDayDate><EndDateTime>2026-03-11T09:00:30</EndDateTime><CurrencyCode>EUR</CurrencyCode>"
    '<RetailTransaction TypeCode="Sale"><LineItem><SequenceNumber>1</SequenceNumber><Sale><ItemID>00000010000300</ItemID>'
    '<ExtendedAmount>1.26</ExtendedAmount><Quantity Units="1" UnitOfMeasureCode="KGM">0.42</Quantity>{inside}</Sale></LineItem>'
    '<LineItem><SequenceNumber>2</SequenceNumber><Tender TenderType="Cash"><Amount>2.00</Amount><TenderChange><Amount>0.74</Amount>'
    '</TenderChange></Tender></LineItem><Total TotalType="TransactionNetAmount">1.18</Total><Total TotalType="TransactionTaxAmount">0.08'
    '</Total><Total TotalType="TransactionGrandAmount">1.26</Total></RetailTransaction></Transaction>'
)
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/">\n'


def sale(no: int = 1, flags: str = "", inside: str = "") -> str:
    return SALE.format(no=no, flags=flags, inside=inside)


@pytest.fixture(scope="module")
def poslog() -> Layout:
    return load(Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml")


def below(layout: Layout, row: tuple[Any, ...] | None, record: str, *fields: str) -> list[tuple[Any, ...]]:
    """Of the rows of one kind below a transaction, these fields."""
    assert row is not None
    declared = layout.records[record]
    return [tuple(each[declared.at(name) or 0] for name in fields) for each in row[declared.index]]


def read(layout: Layout, body: str | bytes, facts: Mapping[str, str] = FACTS) -> tuple[list[tuple[Unit, bytes]], Ending]:
    parser = XmlParser(Plan(layout))
    source = io.BytesIO(body if isinstance(body, bytes) else body.encode())
    return [(u, u.raw()) for u in parser.units(source, "f", facts)], parser.ending


@pytest.mark.parametrize(
    "head",
    [HEAD, "<POSLog>", '<p:POSLog xmlns:p="urn:x">', '\ufeff<POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/POSLog/">'],
    ids=["the ARTS namespace", "none", "a prefix", "another, after a byte order mark"],
)
def test_elements_are_matched_by_local_name(poslog: Layout, head: str) -> None:
    body = head + sale(inside='<acs:Own xmlns:acs="urn:acs"><Quantity>9</Quantity></acs:Own>')
    body = body.replace("<Transaction", "<p:Transaction", 1).replace("</Transaction", "</p:Transaction", 1) if "<p:" in head else body
    units, ending = read(poslog, body + ("</p:POSLog>" if "<p:" in head else "</POSLog>"))
    row = units[0][0].row
    assert row is not None
    assert row[0:3] == ("0002", "001", 1)
    assert below(poslog, row, "LineItem", "quantity", "units", "unit", "weight") == [("0.42", "1", "KGM", "0.42")]
    assert below(poslog, row, "Tender", "line_no", "tender", "amount", "change", "type") == [(2, "Cash", "2.00", "0.74", "Sale")]
    assert (ending.units, ending.reasons) == (1, [])


@pytest.mark.parametrize(
    ("old", "new", "field", "got"),
    [
        ("0.42<", "0,42<", "LineItem.quantity", "'0,42'"),
        ('TypeCode="Sale"', 'TypeCode="Layaway"', "Transaction.type", "'Layaway'"),
        (">1.26</Total>", ">9.26</Total>", "Transaction.grand", "9.26"),
        (">0.74<", ">0.73<", "Transaction.grand", "1.26"),
        ("<WorkstationID>001</WorkstationID>", "", "Transaction.workstation", "nothing at WorkstationID"),
        ("RetailTransaction ", "Retail ", "Transaction.body", "nothing at RetailTransaction|TenderControlTransaction|ControlTransaction"),
        ("</Sale>", "<a>" * 40 + "</a>" * 40 + "</Sale>", "", "more"),
    ],
)
def test_damage_in_a_transaction_sets_it_aside(poslog: Layout, old: str, new: str, field: str, got: str) -> None:
    body = sale().replace(old, new)
    if "Retail " in new:
        body = body.replace("</RetailTransaction>", "</Retail>")
    units, ending = read(poslog, f"{HEAD}{body}\n{sale(2)}</POSLog>")
    bad, raw = units[0]
    assert bad.wrong is not None
    assert (bad.wrong.field, bad.wrong.line) == (field, 3)
    assert got in bad.wrong.got
    assert raw.startswith(b"<Transaction")
    assert units[1][0].row is not None
    assert ending.reasons == []


BOMB = "<!DOCTYPE p [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '" + "&a;" * 50 + "'>]>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "empty"),
        ("not XML", "not the XML that was expected"),
        (BOMB + "<POSLog>&b;</POSLog>", "DOCTYPE"),
        ("<?x?><!-- c --><!DOCTYPE POSLog SYSTEM 'file:///etc/passwd'><POSLog/>", "DOCTYPE"),
        ("<Other><Transaction/></Other>", "expected the document element POSLog, got Other"),
        (HEAD + sale().replace(">0002<", ">0009<", 1) + "</POSLog>", "the name says store 0002, the content 0009"),
        (HEAD + sale()[:-9], "ends before the first transaction does: it was cut off"),
        (HEAD + "<x>" + "a" * 2_000_000 + "</x>" + sale() + "</POSLog>", "without a complete Transaction"),
        ("<POSLog>" + "<a>" * 5000, "not the XML"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(poslog: Layout, body: str, says: str) -> None:
    with pytest.raises(Refuse, match=says):
        read(poslog, body)


@pytest.mark.parametrize("cut", [0.4, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused_and_says_where(poslog: Layout, cut: float) -> None:
    body = HEAD + "\n".join(sale(n) for n in range(1, 200)) + "</POSLog>"
    units, ending = read(poslog, body[: int(len(body) * cut)])
    assert 0 < len(units) < 200
    assert "cut off" in ending.reasons[0]
    assert ending.reasons[0].startswith("line ")


def test_a_skimming_pass_sees_what_refuses_the_file_and_reads_no_rows(poslog: Layout) -> None:
    body = HEAD + sale(1) + sale(2).replace("0.42", "x") + sale(3).replace(">0002<", ">0009<", 1) + "</POSLog>"
    parser = XmlParser(Plan(poslog), skim=1)
    units = parser.units(io.BytesIO(body.encode()), "f", FACTS)
    first, second = next(units), next(units)
    assert first.row is not None
    assert (second.row, second.wrong) == (None, None)
    with pytest.raises(Refuse, match="0009"):
        next(units)


def test_what_a_vendor_has_added_is_told_once_by_its_outermost_name(poslog: Layout) -> None:
    own = '<a:Own xmlns:a="urn:acs"><a:Deep/><a:Quantity>1</a:Quantity></a:Own><a:Quantity xmlns:a="urn:acs">1</a:Quantity><ReceiptText/>'
    body = HEAD + sale(1) + sale(2, inside=own) * 2 + sale(3, inside='<b:More xmlns:b="urn:b"/>') + "</POSLog>"
    assert read(poslog, body)[1].extensions == ["Own of urn:acs", "More of urn:b"]
    declared = parse(POSLOG.replace('= "any"', '= ["http://www.nrf-arts.org/IXRetail/namespace/"]'), "f", "poslog")
    assert read(declared, body)[1].extensions == ["Own of urn:acs", "Quantity of urn:acs", "More of urn:b"]
    assert read(parse(POSLOG.replace('= "report"', '= "drop"'), "f", "poslog"), body)[1].extensions == []
    many = "".join(f'<a:N{n} xmlns:a="urn:{n}"/>' for n in range(200))
    assert len(read(poslog, HEAD + sale(1, inside=many) + "</POSLog>")[1].extensions) == 100


def test_elements_in_foreign_namespaces_are_not_ours_where_namespaces_are_declared(poslog: Layout) -> None:
    text = (Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml").read_text(encoding="utf-8")
    strict = parse(text.replace('namespaces  = "any"', 'namespaces  = ["http://www.nrf-arts.org/IXRetail/namespace/"]'), "s.toml", "s")
    inside = '<v:Quantity xmlns:v="urn:v">7</v:Quantity>'
    units, _ = read(strict, HEAD + sale(inside=inside).replace("<Quantity", "<!-- c --><Quantity") + "</POSLog>")
    assert below(strict, units[0][0].row, "LineItem", "quantity") == [("0.42",)]


def test_a_vendors_poslog_is_read_and_adds_up(samples: Path) -> None:
    """Two clocks, no declared gross, loyalty and custom rows, vendor attributes, a discount that only a reward row tells."""
    text = (Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml").read_text(encoding="utf-8")
    ours = text.replace(r"'POSLOG_(?P<store>[0-9A-Z]{1,10})_(?P<business_date>\d{8})_(?P<file_no>\d{5})\.xml'", "'.*'")
    vendor = parse(ours.replace('agree       = ["store", "business_date"]', ""), "ncr.toml", "ncr")
    units, ending = read(vendor, (samples / "files/poslog-ncr-acs.xml").read_bytes(), {})
    assert (ending.units, ending.set_aside, ending.reasons) == (2, 0, [])
    control, retail = (u.row for u, _ in units)
    assert control is not None
    assert retail is not None
    assert (control[2], control[12]) == (160, "ControlTransaction")
    assert (retail[0:3], retail[19]) == (("9", "34", 161), "1.07")
    assert below(vendor, retail, "LineItem", "item_id", "extended", "quantity", "weighed") == [("00000000067591", "1.26", "0.42", True)]
    assert below(vendor, retail, "Tender", "tender", "amount") == [("CreditDebit", "1.07")]
    assert [r for r in below(vendor, retail, "LoyaltyReward", "category", "amount", "summary") if r[0] == "Monetary"] == [
        ("Monetary", "-0.19", False),
        ("Monetary", "-0.19", True),
    ]


def test_another_dialect_of_journal_is_refused_with_the_reason(poslog: Layout, samples: Path) -> None:
    with pytest.raises(Refuse, match=r"not the XML that was expected|NAXML"):
        read(poslog, (samples / "files/naxml34-voided-line.xml").read_bytes())


UMLAUT = SALE.replace("<ItemID>", "<Description>Äpfel</Description><ItemID>")


@pytest.mark.parametrize(
    ("declared", "encoding", "mark"),
    [
        ("", "utf-8", b""),
        ("", "utf-8", b"\xef\xbb\xbf"),
        ("utf-8", "utf-8", b""),
        ("ISO-8859-1", "latin-1", b""),
        ("windows-1252", "cp1252", b""),
        ("UTF-16", "utf-16-le", b"\xff\xfe"),
        ("UTF-16", "utf-16-be", b"\xfe\xff"),
        ("utf-16", "utf-16-le", b""),
        ("utf-16", "utf-8", b""),
        ("shift_jis", "utf-8", b"\xef\xbb\xbf"),
    ],
)
def test_a_document_is_read_in_the_encoding_that_it_proves_or_declares(poslog: Layout, declared: str, encoding: str, mark: bytes) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else '<?xml version="1.0"?>'
    body = head + "<POSLog>\n" + "\n".join(UMLAUT.format(no=n, flags="", inside="") for n in range(1, 9)) + "</POSLog>"
    units, ending = read(poslog, mark + body.encode(encoding))
    assert [below(poslog, u.row, "LineItem", "description") for u, _ in units] == [[("Äpfel",)]] * 8
    assert ending.reasons == []


@pytest.mark.parametrize(
    ("head", "encoding", "says"),
    [
        ('<?xml version="1.0" encoding="utf-8"?>', "latin-1", "line 4: byte 0xC4 is no text in utf-8"),
        ('<?xml version="1.0"?>', "cp1252", "line 4: byte 0xC4 is no text in utf-8"),
        ('<?xml version="1.0" encoding="ascii"?>', "utf-8", "line 4: byte 0xC3 is no text in ascii"),
    ],
)
def test_bytes_that_are_no_text_in_the_declared_encoding_refuse_the_file(poslog: Layout, head: str, encoding: str, says: str) -> None:
    body = "\n".join([head, "<POSLog>", sale(1), UMLAUT.format(no=2, flags="", inside=""), "</POSLog>"])
    units, ending = read(poslog, body.encode(encoding))
    assert len(units) == 1
    assert says in ending.reasons[0]


def test_a_declaration_that_is_known_to_be_wrong_is_ignored_where_the_layout_says_so() -> None:
    path = Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml"
    text = path.read_text(encoding="utf-8").replace('encoding    = "utf-8"', 'encoding    = "cp1252"\ndeclaration = "ignore"')
    body = f'<?xml version="1.0" encoding="utf-8"?><POSLog>{UMLAUT.format(no=1, flags="", inside="")}</POSLog>'
    layout = parse(text, "p.toml", "p")
    units, _ = read(layout, body.encode("cp1252"))
    assert below(layout, units[0][0].row, "LineItem", "description") == [("Äpfel",)]


@pytest.mark.parametrize("name", ["utf-7", "idna", "unicode_escape", "rot13", "base64", "nonsense"])
def test_an_encoding_that_is_none_of_documents_is_refused(poslog: Layout, name: str) -> None:
    with pytest.raises(Refuse, match=f"says that it is written in {name}"):
        read(poslog, f'<?xml version="1.0" encoding="{name}"?><POSLog/>')


# ---- journals of petrol stations ----------------------------------------------------------------------------------------

NAXML = Path(__file__).parents[5] / "contracts/systems/journals/naxml.toml"
JOURNAL = (
    '<?xml version="1.0"?><NAXML-POSJournal{space}><TransmissionHeader><StoreLocationID>17</StoreLocationID></TransmissionHeader>'
    "<JournalReport><JournalHeader><BeginDate>2026-03-11</BeginDate></JournalHeader>{events}</JournalReport></NAXML-POSJournal>"
)
EVENT = (
    "<{kind}><RegisterID>1</RegisterID><TransactionID>{no}</TransactionID><EventStartDate>2026-03-11</EventStartDate>"
    "<EventStartTime>09:00:00</EventStartTime><BusinessDate>2026-03-11</BusinessDate><TransactionDetailGroup>{lines}"
    '<TransactionLine status="normal"><TenderInfo><Tender><TenderCode>cash</TenderCode></Tender><TenderAmount>{tender}</TenderAmount>'
    '<ChangeFlag value="no"/></TenderInfo></TransactionLine>{more}</TransactionDetailGroup><TransactionSummary>'
    "<TransactionTotalNetAmount>{net}</TransactionTotalNetAmount><TransactionTotalTaxNetAmount>{tax}</TransactionTotalTaxNetAmount>"
    "</TransactionSummary></{kind}>\n"
)
ITEM = (
    '<TransactionLine status="{status}"><ItemLine><ItemCode><POSCode>{code}</POSCode></ItemCode><SalesQuantity>{quantity}</SalesQuantity>'
    "<SalesAmount>{amount}</SalesAmount></ItemLine></TransactionLine>"
)
CHANGE = (
    '<TransactionLine status="normal"><TenderInfo><Tender><TenderCode>cash</TenderCode></Tender><TenderAmount>{amount}</TenderAmount>'
    '<ChangeFlag value="yes"/></TenderInfo></TransactionLine>'
)


def item(code: str, quantity: str, amount: str, status: str = "normal") -> str:
    return ITEM.format(code=code, quantity=quantity, amount=amount, status=status)


def test_a_real_journal_is_read_with_its_voided_line_and_the_store_of_its_header(samples: Path) -> None:
    layout = load(NAXML)
    units, ending = read(layout, (samples / "files/naxml34-voided-line.xml").read_bytes(), {})
    assert (ending.units, ending.set_aside, ending.reasons, ending.findings) == (1, 0, [], [])
    row = units[0][0].row
    assert row is not None
    assert row[layout.headers[0].index] == ("1",)
    assert below(layout, row, "Line", "number", "item", "status", "amount") == [
        (1, "111111111111", "cancel", "50.00"),
        (2, "222222222222", "normal", "3.00"),
    ]
    assert below(layout, row, "Tender", "number", "code", "amount", "change") == [(1, "cash", "3.00", "no")]


@pytest.mark.parametrize("space", ["", ' xmlns="http://www.naxml.org/POSBO/Vocabulary/2003-10-16"'])
def test_events_of_every_kind_keep_the_header_and_number_their_rows(space: str) -> None:
    layout = load(NAXML)
    events = [
        EVENT.format(kind="SaleEvent", no=n, net="4.00", tax="0.25", lines=item("5", "1", "9.00", "cancel") + item("7", "2", "4.00"),
                     tender="5.00", more=CHANGE.format(amount="-0.75" if n % 2 else "0.75"))
        for n in range(1, 9)
    ]  # fmt: skip
    events += [EVENT.format(kind="RefundEvent", no=10, net="-4.00", tax="0", lines=item("7", "-2", "-4.00"), tender="-4.00", more="")]
    units, ending = read(layout, JOURNAL.format(space=space, events="".join(events)), {})
    assert [u.wrong for u, _ in units] == [None] * 9
    assert [u.row and u.row[layout.headers[0].index] for u, _ in units] == [("17",)] * 9
    assert [below(layout, u.row, "Line", "number", "item", "direction") for u, _ in units] == [[(1, "5", "+"), (2, "7", "+")]] * 8 + [
        [(1, "7", "-")]
    ]
    assert [u.row and u.row[0] for u, _ in units] == ["SaleEvent"] * 8 + ["RefundEvent"]
    assert ending.reasons == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<StoreLocationID>17</StoreLocationID>", "", "TransmissionHeader.store: expected"),
        ("TransmissionHeader>", "Header>", "expected one TransmissionHeader before the first Event, got none"),
        (
            "<TransmissionHeader>",
            "<TransmissionHeader/><TransmissionHeader>",
            "expected one TransmissionHeader before the first Event, got 2",
        ),
        ("NAXML-POSJournal", "NAXML-MovementReport", "expected the document element NAXML-POSJournal, got NAXML-MovementReport"),
    ],
)
def test_a_journal_without_its_header_is_refused(old: str, new: str, says: str) -> None:
    event = EVENT.format(kind="SaleEvent", no=1, net="4.00", tax="0", lines="", tender="4.00", more="")
    with pytest.raises(Refuse, match=says):
        read(load(NAXML), JOURNAL.format(space="", events=event).replace(old, new), {})


class Dripping(io.BytesIO):
    """Gives a few bytes at a time, so that every token is cut somewhere."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 13) if self.tell() >= 120 else 120)


ODD = (
    "<!-- <Transaction> </Transaction> -->\r\n\t<t:Transaction\r\n   CancelFlag='false'  TrainingModeFlag = \"false\" xmlns:own='urn:own' >"
    "<!-- till > 3 --><t:RetailStoreID ><![CDATA[0002]]></t:RetailStoreID>"
    "<t:WorkstationID>&#x30;01</t:WorkstationID>\r\n<t:SequenceNumber>{no}</t:SequenceNumber><?till x > </t:Transaction>?>"
    "<t:BusinessDayDate>2026-03-11</t:BusinessDayDate>\n\n<own:Transaction a='>'>"
    "M\u00fcsli &amp; <![CDATA[</t:Transaction> & ]]></own:Transaction>"
    "<own:Transaction/><t:CurrencyCode>EUR</t:CurrencyCode></t:Transaction   >"
)


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8", "utf-8"), ("latin-1", "ISO-8859-1"), ("cp1252", "windows-1252"), ("utf-16", "utf-16"), ("shift_jis", "Shift_JIS")],
)
@pytest.mark.parametrize("stream", [io.BytesIO, Dripping])
def test_what_is_set_aside_is_kept_byte_by_byte_and_read_again_alike(
    poslog: Layout, encoding: str, declared: str, stream: type[io.BytesIO]
) -> None:
    says = f"<?xml version='1.0' encoding='{declared}'?>\r\n<t:POSLog xmlns:t='urn:tills' from=\"T&amp;T\">"
    parts = [ODD.format(no=no) for no in range(40)]
    bare = sale(50).replace("</", "\0").replace("<", "<t:").replace("\0", "</t:")
    parts[3:3] = [bare, bare.replace(">50<", ">51<"), "<t:Transaction/>", bare.replace(">1.26</t:Total>", ">9.26</t:Total>")]
    if encoding == "shift_jis":
        parts = [part.replace("\u00fc", "\u8a9e") for part in parts]
    body = (says + "\r\n".join(parts) + "</t:POSLog>").encode(encoding)
    bare_codec = encoding.replace("utf-16", "utf-16-le")
    expected = [part[part.index("<t:Transaction") :].encode(bare_codec) for part in parts]
    parser = XmlParser(Plan(poslog))
    units = [(u, u.raw(), u.around()) for u in parser.units(stream(body), "f", FACTS)]
    assert [raw for _, raw, _ in units] == expected
    assert not [finding for finding in parser.ending.findings if "byte by byte" in finding]
    assert sum(u.wrong is not None for u, _, _ in units) == 42
    for unit, raw, around in units[2:8]:
        (again,) = XmlParser(Plan(poslog)).units(io.BytesIO(raw.join(around)), "f", FACTS)
        assert (again.row, again.wrong and (again.wrong.field, again.wrong.got)) == (
            unit.row, unit.wrong and (unit.wrong.field, unit.wrong.got),
        )  # fmt: skip


def test_bytes_that_an_encoding_would_write_otherwise_are_said_to_be_so(poslog: Layout) -> None:
    poslog = parse(POSLOG.replace('= "utf-8"', '= "cp932"'), "f", "poslog")
    body = b"<POSLog><Transaction><A>\xfa\x54</A></Transaction></POSLog>"
    (only,), ending = read(poslog, body)
    assert only[1] == b"<Transaction><A>\x81\xca</A></Transaction>"
    assert [finding for finding in ending.findings if finding.startswith("line 1: ") and "not byte by byte" in finding]


def test_text_of_many_bad_ones_in_a_row_is_let_go(poslog: Layout) -> None:
    long = b"<Transaction x='%s>'/>" % (b"x" * 600)
    body = b"<POSLog>" + (b"<Transaction /> " + long) * 4_000 + b"</POSLog>"
    parser = XmlParser(Plan(poslog))
    kept, most = set(), 0
    for unit in parser.units(io.BytesIO(body), "f", {}):
        kept.add(unit.raw())
        most = max(most, parser._fed._size)
    assert kept == {b"<Transaction />", long}
    assert most < 1_500_000 < len(body)


def test_a_namespace_that_is_no_address_does_not_keep_a_record_from_quarantine(poslog: Layout) -> None:
    ((bad, raw),), ending = read(poslog, "<t:POSLog xmlns:t='a \"b' t:x='1\n2' xml:lang='de'><t:Transaction></t:Transaction></t:POSLog>")
    assert raw == b'<t:Transaction xmlns:t="a &quot;b"/>'
    assert bad.around() == (b'<t:POSLog xmlns:t="a &quot;b" t:x="1 2" xml:lang="de">', b"</t:POSLog>")
    assert [finding for finding in ending.findings if "not byte by byte" in finding]
