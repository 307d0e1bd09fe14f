"""The locks: pinned by hash, without an address, in step with pyproject.toml and with each other."""

import re
import tomllib
import zipfile
from itertools import chain
from pathlib import Path
from subprocess import run
from sys import executable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime", "test")


def lock(name: str) -> dict[str, list[tuple[Version, str]]]:
    """Package name to its pins: a universal lock may pin one package once per platform."""
    pins: dict[str, list[tuple[Version, str]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / f"requirements/{name}.lock").read_text()):
        head, _, rest = entry.partition("\\\n")
        wanted = Requirement(head.strip())
        (pin,) = wanted.specifier
        assert pin.operator == "=="
        pins.setdefault(canonicalize_name(wanted.name), []).append((Version(pin.version), rest))
    return pins


def wanted(name: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["project"]["dependencies"], *chain(*project["project"]["optional-dependencies"].values())]
    return [Requirement(line) for line in lines + (project["dependency-groups"]["test"] if name == "test" else [])]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_address_and_no_option(name: str) -> None:
    text = (ROOT / f"requirements/{name}.lock").read_text()
    assert re.findall(r"\w+://\S*|^\s*-(?!-hash=)\S+", text, re.MULTILINE) == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_carries_hashes(name: str) -> None:
    bare = [package for package, pins in lock(name).items() for _, rest in pins if "--hash=sha256:" not in rest]
    assert bare == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_what_pyproject_asks_for(name: str) -> None:
    pins = lock(name)
    stale = [
        str(asked)
        for asked in wanted(name)
        if not any(version in asked.specifier for version, _ in pins.get(canonicalize_name(asked.name), []))
    ]
    assert stale == [], "lock again with the command in CONTRIBUTING.md"


def test_the_test_lock_holds_the_runtime_lock() -> None:
    tests, runtime = lock("test"), lock("runtime")
    differs = [name for name, pins in runtime.items() if {v for v, _ in pins} != {v for v, _ in tests.get(name, [])}]
    assert differs == []


def test_installed_wheel_holds_every_tracked_file_of_the_packages(tmp_path: Path) -> None:
    build: list[str | Path] = [executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    built = run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("tillgate-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    listing = run(["git", "ls-files", "--", *packages], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {name for name in listing.splitlines() if (ROOT / name).exists()} <= held
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} <= set(packages)
