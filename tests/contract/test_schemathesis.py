"""Every published version against the whole product: examples, generated requests and chains of them, with all checks that have meaning."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from tests.products import Live, threaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5 * 3600)]  # a nightly run asks each operation of each version 2,000 times

LEFT_OUT = "positive_data_acceptance"
"""A body may be right by its schema and still name an amount that does not add up: a check in steering.py knows those rules, and takes
its place.
"""
CLIENTS = ("web", "mobile", "call_centre")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with threaded(tmp_path_factory.mktemp("schemathesis")) as found:
        yield found


def test_the_product_keeps_every_published_contract(
    live: Live, root: Path, tmp_path: Path, deep: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    each, chains = (2000, 500) if deep else (3, 12)
    settings = f"[generation]\nmax-examples = {each}\n[phases.stateful.generation]\nmax-examples = {chains}\n"
    (tmp_path / "schemathesis.toml").write_text(settings, encoding="utf-8")

    def checked(version: str, client: str) -> str:
        """What was wrong with a version, empty if nothing. A client of its own for each: the same idempotency keys come again."""
        command = [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
            str(root / f"contracts/published/openapi-{version}.json"),
            *("--url", live.base),
            *("--header", f"Authorization: Bearer {live.keys[client]}", "--header", f"API-Version: {version}"),
            *("--phases", "examples,coverage,fuzzing,stateful" if deep else "examples,fuzzing,stateful"),
            *("--exclude-checks", LEFT_OUT, "--warnings", "off"),
            *("--no-color", "--continue-on-failure", "--request-timeout", "20", "--suppress-health-check", "too_slow"),
            *("--output-sanitize", "false"),  # a failure names a request that can be sent again; the keys end with the test
            # With a database hypothesis compares each example with all that came before.
            *(["--generation-database", "none"] if deep else ["--generation-deterministic", "--no-shrink"]),
        ]
        environment = {
            **os.environ,
            "COLUMNS": "160",
            "PYTHONPATH": str(root),
            "SCHEMATHESIS_HOOKS": "tests.contract.steering",
            # What hypothesis knows of alphabets and of the product's constants takes longer to find than all usual requests to make.
            "HYPOTHESIS_STORAGE_DIRECTORY": str(root / ".hypothesis"),
        }
        progress: list[str] = []
        with (
            (tmp_path / version).open("w+", encoding="utf-8") as out,
            subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, text=True) as run,
        ):
            assert run.stderr
            for line in run.stderr:
                progress.append(line)
                if deep:
                    sys.stderr.write(f"{version} {line}")
            if run.wait():
                return f"{version}\n{(tmp_path / version).read_text(encoding='utf-8')[-15_000:]}{''.join(progress[-50:])}"
        asked = sum(line.startswith("fuzzing ") and line.endswith(f" {each}\n") for line in progress)
        return f"{version}: only {asked} operations were asked {each} times\n" if deep and asked < len(ENDPOINTS) else ""

    # What costs time is making the requests: each version in a process of its own.
    with ThreadPoolExecutor(len(CLIENTS)) as versions, capfd.disabled() if deep else nullcontext():
        wrong = list(versions.map(checked, HISTORY.by_date, CLIENTS))
    assert not any(wrong), "\n".join(wrong)
    chained = {"POST /reservations", "GET /reservations/{key}", "POST /orders", "GET /orders/{id}"}
    assert chained <= (reached := served(live)).keys(), f"chains never got an answer from {sorted(chained - reached.keys())}"


def served(live: Live) -> dict[str, int]:
    """Route -> how many requests were answered well."""
    found: dict[str, int] = {}
    for key, cell in live.product.recorder.snapshot().routes.items():
        if good := cell.n - sum(cell.failures) - cell.cancelled:
            found[key.route] = found.get(key.route, 0) + good
    return found
