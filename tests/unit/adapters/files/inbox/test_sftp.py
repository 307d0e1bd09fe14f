"""What only a server can do: be another one, refuse, break, hang."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

import asyncssh
import msgspec
import pytest

from adapters.files.inbox import sftp as module
from adapters.files.inbox.sftp import Sftp
from adapters.files.spec import FilesOptions, SftpOptions, address
from adapters.options import read
from contracts.policy import Duration
from tests.conformance.files.conftest import sftp
from tests.servers.sftp import SftpHost

INBOX = PurePath("/inbox")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SftpHost]:
    (tmp_path / "server/inbox").mkdir(parents=True)
    with SftpHost(tmp_path / "server") as found:
        yield found


@pytest.fixture
def speak(host: SftpHost) -> Iterator[Sftp]:
    storage = sftp(host, timeout=Duration(2))
    storage.start()
    yield storage
    storage.close()


def fails(host: SftpHost, **given: object) -> str:
    storage = sftp(host, **given)
    storage.start()
    try:
        with pytest.raises(ConnectionRefusedError) as error:
            list(storage.list(INBOX))
        return str(error.value.strerror)
    finally:
        storage.close()


def test_a_server_with_another_key_is_not_spoken_to(host: SftpHost) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    assert fails(host, host_keys=(other,)) == (
        f"the key of 127.0.0.1:{host.port} is not the declared one: it was changed, or this is another server"
    )
    assert host.logins == []


def test_a_host_file_vouches_for_its_hosts_and_no_others(host: SftpHost, tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"[127.0.0.1]:{host.port} {host.public_key}\n")
    storage = sftp(host, host_keys=(), known_hosts=str(file))
    storage.start()
    assert list(storage.list(INBOX)) == []
    storage.close()
    file.write_text(f"[127.0.0.2]:{host.port} {host.public_key}\n")
    assert "is not the declared one" in fails(host, host_keys=(), known_hosts=str(file))
    assert "No such file" in fails(host, host_keys=(), known_hosts=str(tmp_path / "none"))


def test_a_wrong_password_is_told_without_it_and_not_tried_at_every_sweep(host: SftpHost) -> None:
    storage = sftp(host, password="wrong-secret")
    storage.start()
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError, match="refused the login of pos") as error:
            list(storage.list(INBOX))
        assert "wrong-secret" not in repr(error.value)
    storage.close()
    assert len(host.logins) == 1
    assert "wrong-secret" not in repr(SftpOptions(host_keys=("k",), password="wrong-secret"))


def test_a_key_logs_in(host: SftpHost) -> None:
    storage = sftp(host, password="", key=host.private_key)
    storage.start()
    assert list(storage.list(INBOX)) == []
    storage.close()
    assert fails(host, password="", key="no key") == "the declared key of the server or of the login is no key that can be read"


def test_a_line_that_breaks_in_a_file_is_lost_and_the_next_look_has_the_file(host: SftpHost, speak: Sftp) -> None:
    body = os.urandom(4_000_000)
    path = host.root / "inbox/f"
    path.write_bytes(body)
    stamp = speak.status(INBOX / "f").stamp
    host.cut_after = 2_000_000
    with pytest.raises(ConnectionResetError, match="connection to the server was lost"):
        speak.open(INBOX / "f", stamp)
    with speak.open(INBOX / "f", stamp) as source:
        assert source.read() == body


@pytest.mark.slow
def test_a_server_that_hangs_is_left_after_the_declared_time(host: SftpHost, speak: Sftp) -> None:
    (host.root / "inbox/f").write_bytes(b"x" * 1000)
    stamp = speak.status(INBOX / "f").stamp
    host.slow = 60
    with pytest.raises(TimeoutError, match="did not answer in time"):
        speak.open(INBOX / "f", stamp)
    host.slow = 0
    with speak.open(INBOX / "f", stamp) as source:
        assert len(source.read()) == 1000


def test_a_server_that_was_away_is_spoken_to_again_after_a_pause(host: SftpHost, speak: Sftp) -> None:
    host.down()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError, match="Connect"):
            list(speak.list(INBOX))
    host.up()
    with pytest.raises(ConnectionRefusedError):
        list(speak.list(INBOX))
    speak._not_before = time.monotonic()
    assert list(speak.list(INBOX)) == []


def test_closing_ends_what_is_under_way(host: SftpHost, speak: Sftp) -> None:
    (host.root / "inbox/f").write_bytes(b"x" * 1000)
    stamp = speak.status(INBOX / "f").stamp
    host.slow = 60
    seen: list[BaseException] = []

    def ask() -> None:
        try:
            speak.open(INBOX / "f", stamp)
        except OSError as error:
            seen.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    speak.close()
    asking.join(10)
    assert [type(error).__mro__[-3].__name__ for error in seen] == ["Exception"]
    with pytest.raises(ConnectionAbortedError, match="closed"):
        speak.status(INBOX)


def test_copies_leave_nothing_on_the_disk_and_are_as_many_as_declared(host: SftpHost, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    storage = sftp(host, copies=2, spool=str(spool))
    storage.start()
    for name in "abcd":
        (host.root / "inbox" / name).write_bytes(name.encode() * 10)
        storage.open(INBOX / name, storage.status(INBOX / name).stamp).close()
    assert [path.name for path in storage._spools] == ["c", "d"]
    storage.move(INBOX / "d", INBOX / "e", storage.status(INBOX / "d").stamp)
    assert [path.name for path in storage._spools] == ["c"]
    assert list(spool.iterdir()) == []
    storage.close()


def test_a_folder_of_more_files_than_are_read_says_so(host: SftpHost, speak: Sftp, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (host.root / "inbox" / str(number)).touch()
    monkeypatch.setattr(module, "MOST_ENTRIES", 20)
    with pytest.raises(OSError, match="more than 20 files"):
        list(speak.list(INBOX))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"password": "p"}, "either host_keys or known_hosts"),
        ({"password": "p", "host_keys": ["k"], "known_hosts": "f"}, "either host_keys or known_hosts"),
        ({"known_hosts": "f"}, "key or password"),
        ({"known_hosts": "f", "key": "k", "timeout": "0s"}, "longer than nothing"),
    ],
)
def test_a_server_that_nobody_vouches_for_cannot_be_declared(given: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        read(FilesOptions, {"sftp": given})


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        ("/srv/pos/inbox", None),
        ("inbox", None),
        ("sftp://pos@files.example/drop/pos", ("files.example", 22, "pos", "/drop/pos")),
        ("sftp://pos%40x@[::1]:2222/a%20b", ("::1", 2222, "pos@x", "/a b")),
    ],
)
def test_an_endpoint_is_a_folder_or_a_server(endpoint: str, found: tuple[object, ...] | None) -> None:
    assert address(endpoint) == found


@pytest.mark.parametrize("endpoint", ["ftp://u@h/x", "sftp://h/x", "sftp://u@h", "sftp://u:p@h/x", "sftp://u@h/x?y", "sftp://u@h:99999/x"])
def test_an_endpoint_that_is_neither_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Port"):
        address(endpoint)
