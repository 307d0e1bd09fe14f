"""Options of a file feed, typed: where files appear, when they are complete, where they go afterwards, and every limit."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from adapters.options import Options, Secret, read
from contracts.arrival import Numbering, Window
from contracts.policy import Duration


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text for whoever sent a file, once for each file that is finished: what was accepted, what was not, and why."""

    folder: Annotated[
        str, Meta(min_length=1, description="Folder, where the inbox lies too, into which acknowledgements are put, whole at once")
    ]
    name: Annotated[
        str,
        Meta(
            description="Of {name}, {stem} (the file's name without its last suffix), {store}, {state} and {digest}",
            examples=["{stem}.ack"],
        ),
    ] = "{name}.ack"
    format: Annotated[Literal["json", "lines"], Meta(description="`lines`: KEY=VALUE, and a line for each rejected record")] = "json"
    most: Annotated[int, Meta(ge=0, le=10_000, description="Rejected records that are listed; the counts are of all")] = 1000

    def __post_init__(self) -> None:
        try:
            tried = self.named("a.b", "1", "done", "0" * 64)
        except (KeyError, ValueError, IndexError, AttributeError):
            tried = "/"
        if "/" in tried or "\0" in tried or not tried.strip(".") or ("{name}" not in self.name and "{stem}" not in self.name):
            raise ValueError(f"expected a file name with {{name}} or {{stem}}, such as {{stem}}.ack, got {self.name!r}")

    def named(self, name: str, store: str, state: str, digest: str) -> str:
        return self.name.format(name=name, stem=name.rpartition(".")[0] or name, store=store, state=state, digest=digest)


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long files are kept once they are settled. Only what is booked, or was given up by a person, is ever removed."""

    archive: Annotated[Duration, Meta(description="For booked files")] | None = None
    quarantine: (
        Annotated[Duration, Meta(description="For refused files that were given up, or whose content was booked after all")] | None
    ) = None


class SftpOptions(Options, frozen=True, kw_only=True):
    """How a server of files is spoken to, where the endpoint is `sftp://user@host:port/folder`. Its key is known beforehand, or it is not
    spoken to at all.
    """

    host_keys: Annotated[tuple[str, ...], Meta(description="The server's public keys", examples=[["ssh-ed25519 AAAA…"]])] = ()
    known_hosts: Annotated[str, Meta(description="File of known hosts in OpenSSH's form, instead of `host_keys`")] = ""
    key: Secret = ""
    """The private key in OpenSSH or PEM form, by reference: `file:/run/secrets/pos_key`."""
    key_password: Secret = ""
    password: Secret = ""
    connect: Annotated[Duration, Meta(description="Limit of connecting and logging in")] = Duration(10)
    timeout: Annotated[Duration, Meta(description="Limit of one answer of the server; the connection then counts as lost")] = Duration(30)
    spool: Annotated[str, Meta(description="Folder for the copy of a file while it is read; without it the system's temporary one")] = ""

    def __post_init__(self) -> None:
        if bool(self.host_keys) == bool(self.known_hosts):
            raise ValueError("expected either host_keys or known_hosts: a server whose key nobody knows could be anyone")
        if not self.key and not self.password:
            raise ValueError("expected key or password, by reference, to log in with")
        if self.connect <= 0 or self.timeout <= 0:
            raise ValueError("connect and timeout are longer than nothing")

    def __repr__(self) -> str:
        return f"SftpOptions(host_keys={len(self.host_keys)}, known_hosts={self.known_hosts!r})"


class FilesOptions(Options, frozen=True, kw_only=True):
    """Where the files of a system lie on a server. Each feed has a table `feed` of its own."""

    sftp: SftpOptions | None = None


class Address(NamedTuple):
    """Of an SFTP server."""

    host: str
    port: int
    user: str
    folder: str


def address(endpoint: str) -> Address | None:
    """Of `sftp://user@host:port/folder`; None for a folder of this machine. Raises ValueError for what is neither."""
    if "://" not in endpoint:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.path in ("", "/") or parts.query or parts.fragment:
        raise ValueError("expected a folder, or sftp://user@host/folder")
    if parts.password is not None:
        raise ValueError("expected no password in the endpoint: it belongs into the options, as a reference")
    return Address(parts.hostname, parts.port or 22, unquote(parts.username), unquote(parts.path))


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feed reads the files of one folder that its layout's name pattern matches; other files are left alone."""

    inbox: Annotated[str, Meta(min_length=1, description="Folder into which files are dropped", examples=["/srv/pos/inbox"])]
    complete: Annotated[
        Literal["renamed", "marker", "quiet"],
        Meta(
            description="When a file is complete: `renamed`, it gets its name only then; `marker`, a companion file says so; "
            "`quiet`, it has not changed for `quiet`"
        ),
    ] = "quiet"
    quiet: Annotated[Duration, Meta(description="How long a file must not change, watched by the gateway itself")] = Duration(1)
    marker: Annotated[str, Meta(min_length=1, max_length=20, description="Suffix of the companion file")] = ".done"
    archive: Annotated[str, Meta(description="Folder for booked files; without it `archive` beside the inbox")] = ""
    quarantine: Annotated[str, Meta(description="Folder for refused files; without it `quarantine` beside the inbox")] = ""
    sweep: Annotated[Duration, Meta(description="How often the folder is read; events of the file system only make it sooner")] = Duration(
        2
    )
    watch: Annotated[bool, Meta(description="Whether to listen for events of the file system (none come from NFS and SMB)")] = True
    lease: Annotated[Duration, Meta(description="After so long without a sign of life another worker takes a file over")] = Duration(15)
    batch: Annotated[int, Meta(ge=1, le=10_000, description="Transactions per commit")] = 500
    attempts: Annotated[
        int, Meta(ge=1, le=1000, description="Workers that may die over one file without a step forward before it is refused")
    ] = 10
    max_bytes: Annotated[int, Meta(ge=1, description="Largest file that is read, unpacked")] = 8 * 1024**3
    archives: Annotated[
        str,
        Meta(
            description="Pattern of the names of zip files, besides NAME.zip; NAME.gz and NAME.zip are always read where NAME is a file's",
            examples=["STORE_(?P<store>[0-9]{4})\\.zip"],
        ),
    ] = ""
    max_ratio: Annotated[int, Meta(ge=2, le=1100, description="A file that grows to more times its size is a bomb, beyond 16 MiB")] = 200
    max_members: Annotated[int, Meta(ge=1, le=10_000, description="Of one zip")] = 1000
    sequence: Annotated[Numbering, Meta(description="How the names count the files of a store")] = Numbering()
    parallel: Annotated[int, Meta(ge=1, le=32, description="Files that one worker reads at once, each of another store")] = 1
    window: Annotated[Window, Meta(description="When files are expected")] | None = None
    till_gaps: Annotated[
        bool, Meta(description="Whether numbers that a till's business day leaves out are told; false where not all of them come")
    ] = True
    day_tolerance: Annotated[
        int, Meta(ge=0, le=366, description="Calendar days between a transaction's begin and its business day; more of them are told")
    ] = 1
    silent: Annotated[Duration, Meta(description="How long a till must not have booked before its gaps are told")] = Duration(60)
    refuse_share: (
        Annotated[
            float, Meta(ge=0, le=1, description="A larger share of bad transactions refuses the whole file before anything is booked")
        ]
        | None
    ) = None
    acknowledge: Acknowledge | None = None
    retention: Retention = Retention()

    def __post_init__(self) -> None:
        if self.sweep <= 0 or self.lease <= 0:
            raise ValueError("sweep and lease are longer than nothing")
        if self.marker.strip("./\\") == "" or "/" in self.marker or "\\" in self.marker or "\0" in self.marker:
            raise ValueError(f"expected a suffix such as .done, got {self.marker!r}")
        try:
            re.compile(self.archives)
        except re.error as error:
            raise ValueError(f"archives: no pattern: {error}") from error

    @property
    def inbox_path(self) -> Path:
        return Path(self.inbox)

    @property
    def archive_path(self) -> Path:
        return Path(self.archive) if self.archive else self.inbox_path.parent / "archive"

    @property
    def quarantine_path(self) -> Path:
        return Path(self.quarantine) if self.quarantine else self.inbox_path.parent / "quarantine"


class OutletOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of changes for the tills, numbered by store without gaps; the next one is written when the one before was answered."""

    name: Annotated[
        str,
        Meta(
            description="Of {store}, {number} and {date}, as the layout's name pattern wants it",
            examples=["PRICES_{store}_{number:06}.csv"],
        ),
    ]
    folder: Annotated[str, Meta(description="Where the tills look for them, or env:NAME; without it the system's endpoint")] = ""
    stores: Annotated[tuple[str, ...], Meta(description="Whose tills are told; none: every active store that systems list")] = ()
    every: Annotated[Duration, Meta(description="How often a store's changes are looked for")] = Duration(900)
    sweep: Annotated[Duration, Meta(description="How often answers are looked for")] = Duration(2)
    most: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="After so many articles a file is full, with the page that they stand on; more go into the next one",
        ),
    ] = 5000
    page: Annotated[int, Meta(ge=1, le=1000, description="Articles whose prices are asked for at once")] = 100
    pause: Annotated[Duration, Meta(description="Between two pages, so that the systems have time for others")] = Duration(0.05)
    answers: Annotated[str, Meta(description="Folder in which the tills put their answers; without it the files' own")] = ""
    answer: Annotated[str, Meta(description="Name of an answer, of {name} and {stem}", examples=["{stem}.ack"])] = "{name}.ack"
    answer_within: Annotated[
        Duration, Meta(description="An answer that takes longer is a finding; it counts all the same when it comes")
    ] = Duration(3600)

    def __post_init__(self) -> None:
        try:
            tried = {self.named(s, n, datetime(2026, 1, n, tzinfo=UTC)) for s in ("1", "2") for n in (1, 2)}
            answers = {self.answer_to(name) for name in tried}
        except (KeyError, ValueError, IndexError, AttributeError):
            tried = answers = {"/"}
        if len(tried) != 4 or any(map(_unfit, tried)):
            raise ValueError(
                f"expected a file name with {{store}} and {{number}}, such as PRICES_{{store}}_{{number:06}}.csv, got {self.name!r}"
            )
        if len(answers) != 4 or any(map(_unfit, answers)) or answers & tried:
            raise ValueError(f"expected another file name with {{name}} or {{stem}}, such as {{stem}}.ack, got {self.answer!r}")
        if min(self.every, self.sweep, self.answer_within) <= 0:
            raise ValueError("every, sweep and answer_within are longer than nothing")

    def named(self, store: str, number: int, at: datetime) -> str:
        return self.name.format(store=store, number=number, date=f"{at:%Y%m%d}")

    def answer_to(self, name: str) -> str:
        return self.answer.format(name=name, stem=name.rpartition(".")[0] or name)


def _unfit(name: str) -> bool:
    return "/" in name or "\0" in name or not name.strip(".") or name.startswith(".")


def options(inbox: str, given: dict[str, Any]) -> FeedOptions:
    """From the estate: `inbox` is the system's endpoint, `given` the operation's feed table. Raises msgspec.ValidationError."""
    return read(FeedOptions, {"inbox": inbox, **given})


def outlet_options(given: dict[str, Any]) -> OutletOptions:
    """From the estate: the operation's outbound table. Raises msgspec.ValidationError."""
    return read(OutletOptions, given)
