"""What every test finds: real servers that start when asked for, loopback as the only network, samples, deep mode."""

import gc
import ipaddress
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests.servers import chromium, postgres, rabbitmq, valkey

ROOT = Path(__file__).resolve().parents[1]
SERVERS = {
    "postgres_dsn": "server",
    "fresh_postgres_dsn": "server",
    "valkey_url": "server",
    "amqp_url": "server",
    "chromium_path": "browser",
}

# looked up when a server binds to all addresses; nothing is sent
WILDCARDS = {("socket.getaddrinfo", "0.0.0.0"), ("socket.getaddrinfo", "::")}

hypothesis.settings.register_profile("tillgate", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="nightly modes: more examples, longer runs")


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until everything is imported
    hypothesis.settings.load_profile("deep" if config.getoption("deep") else "tillgate")
    sys.addaudithook(loopback_only)


def pytest_collection_finish() -> None:
    """What was imported stays: looking through it again and again would be a tenth of the whole run."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a server carries its mark."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if name in SERVERS:
                item.add_marker(SERVERS[name])


def loopback_only(event: str, args: tuple[object, ...]) -> None:
    """Refuses what leaves the machine, before it is sent: an audit hook sees every Python socket and look-up of a name."""
    match event, args:
        case "socket.connect", (_, (str(host), *_)):
            pass
        case (("socket.getaddrinfo" | "socket.gethostbyname"), (str(host), *_)):
            pass
        case _:
            return
    try:
        local = host in ("", "localhost") or ipaddress.ip_address(host).is_loopback or (event, host) in WILDCARDS
    except ValueError:
        local = False
    if not local:
        raise PermissionError(f"tests speak to loopback only, not to {host}")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that ran inside a test has bound the logs to a stream that ends with it."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield
    if structlog.get_config() != configured:
        structlog.configure(**configured)
        root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project, which is also the reference estate."""
    return ROOT


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Whether this is a nightly run."""
    return bool(pytestconfig.getoption("deep"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Recorded exchanges and files of real systems, which lie beside the project."""
    folder = Path(os.environ.get("TILLGATE_SAMPLES", ROOT.parent / "shared/samples"))
    assert folder.is_dir(), f"the samples are not at {folder}: set TILLGATE_SAMPLES to their folder"
    return folder


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for servers: outside pytest's own, which is closed to the user PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="tillgate-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _inside(scratch: Path, name: str) -> Path:
    (scratch / name).mkdir()
    return scratch / name


@pytest.fixture(scope="session")
def postgres_dsn(scratch: Path) -> Iterator[str]:
    """A PostgreSQL for the whole run; tests share its database, so they name what they make."""
    with postgres.running(_inside(scratch, "postgres")) as dsn:
        yield dsn


@pytest.fixture
async def fresh_postgres_dsn(postgres_dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An empty database of that PostgreSQL, for one test."""
    import asyncpg

    name = f"t{abs(hash(request.node.nodeid))}"
    control = await asyncpg.connect(postgres_dsn)
    try:
        await control.execute(f"create database {name}")
        yield postgres_dsn.rpartition("/")[0] + "/" + name
        await control.execute(f"drop database {name} with (force)")
    finally:
        await control.close()


@pytest.fixture(scope="session")
def valkey_url(scratch: Path) -> Iterator[str]:
    """A Valkey for the whole run; tests prefix their keys."""
    with valkey.running(_inside(scratch, "valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def amqp_url(scratch: Path) -> Iterator[str]:
    """A RabbitMQ for the whole run; tests name their own exchanges and queues."""
    with rabbitmq.running(_inside(scratch, "rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The browser for Playwright's `executable_path`; start it with `tests.servers.chromium.ARGS`."""
    return chromium.path()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, whichever worker ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(str(value))
