"""What no linter sees: which folders there are, whose packages are imported, and what tracked text may say."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contracts", "mappings", "adapters", "gateway", "observability", "sandbox")
FOLDERS = {*PACKAGES, "benchmarks", "docs", "recordings", "tests", "requirements", ".ci"}
FILES = {"run", "test", "README.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "estate.toml", ".gitignore"}


@cache
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).exists()]


@cache
def texts() -> list[tuple[Path, str]]:
    raw = ((path, (ROOT / path).read_bytes()) for path in tracked())
    return [(path, text.decode(errors="replace")) for path, text in raw if b"\0" not in text]


def importing(*names: str) -> list[tuple[Path, str]]:
    """The Python files with a line that may import one of these dotted names: only they are worth parsing."""
    first = "|".join(sorted({name.partition(".")[0] for name in names}))
    line = re.compile(rf"^.*\b(?:import|from)\s.*\b(?:{first})\b", re.MULTILINE)
    return [(path, text) for path, text in texts() if path.suffix == ".py" and line.search(text)]


def speaking(*names: str) -> list[tuple[Path, str]]:
    """The Python files in which all words of one of these dotted names stand: only they are worth parsing."""
    words = [name.split(".") for name in names]
    return [(p, text) for p, text in texts() if p.suffix == ".py" and any(all(word in text for word in name) for name in words)]


@cache
def nodes(source: str) -> list[ast.AST]:
    """What imports and calls."""
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom | ast.Call)]


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, inside functions too."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def matches(pattern: str, suffixes: tuple[str, ...] = ("",), words: str = "") -> list[str]:
    """`words`: one of them stands in every text that the pattern can match in."""
    rule, there = re.compile(pattern), re.compile(words)
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if str(path).endswith(suffixes) and path != Path(__file__).relative_to(ROOT) and there.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if rule.search(line)
    ]


def test_every_tracked_file_lies_in_a_room_of_the_house() -> None:
    paths = tracked()
    assert {p.parts[0] for p in paths if len(p.parts) > 1} <= FOLDERS
    assert {p.name for p in paths if len(p.parts) == 1} <= FILES


@pytest.mark.parametrize("package", PACKAGES)
def test_package_resolves_to_this_repository_though_the_caller_stands_beside_a_namesake(package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text("raise SystemExit('the namesake was imported')")
    found = subprocess.run(
        [sys.executable, "-c", f"import {package}; print({package}.__path__[0])"],
        cwd=tmp_path,
        check=True,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
    ).stdout.strip()
    assert Path(found) == ROOT / package


def test_what_every_command_loads_holds_no_library_that_few_of_them_need() -> None:
    """Each of them would be a tenth of the time that a command takes to begin."""
    few = "numpy redis asyncssh zeep opentelemetry.exporter"
    loaded = subprocess.run(
        [sys.executable, "-c", f"import gateway.bootstrap, sys; print(*[name for name in '{few}'.split() if name in sys.modules])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.split() == []


def test_tracked_text_names_no_path_of_a_machine() -> None:
    assert matches(r"(?<![\w./:$}-])/(work|root|home|Users|private)/\w", words="/(work|root|home|Users|private)/") == []


def test_tracked_text_names_no_package_registry() -> None:
    assert (
        matches(
            r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|--(extra-)?index-url|--find-links",
            words="org|debian|index-url|find-links",
        )
        == []
    )


def test_no_lock_format_that_records_registry_addresses_is_tracked() -> None:
    assert not {p.name for p in tracked()} & {"uv.lock", "pylock.toml", "package-lock.json", "poetry.lock", "yarn.lock"}


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    assert (
        matches(r"pytest\.(skip|xfail|importorskip)\b|mark\.(skip|skipif|xfail)\b|unittest\.skip|\.SkipTest", (".py",), "(?i)skip|xfail")
        == []
    )


def test_every_silenced_check_says_why() -> None:
    bare = matches(r"#\s*(noqa|type:\s*ignore|pragma)(?![^#]*\S\s*(-|—|:|#)\s+\w)", (".py",), "noqa|ignore|pragma")
    assert bare == [], "write the reason behind it:  # noqa: RULE - reason"


def test_no_page_loads_anything_from_elsewhere() -> None:
    tag = r"""<(script|link|img|iframe|source|use|form)\b[^>]*\b(src|href|action)\s*=\s*["']?(https?:)?//"""
    code = r"""url\(\s*["']?(https?:)?//|\bfrom\s+["']https?://|\bimport\(?\s*["']https?://|\bfetch\(\s*["'`]https?://"""
    assert matches(f"{tag}|{code}", (".html", ".jinja", ".j2", ".css", ".js", ".mjs", ".svg")) == []


def test_nothing_imports_tests_or_benchmarks() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path, text in importing("tests", "benchmarks")
        if path.parts[0] in PACKAGES
        for line, name in imports(text)
        if name.split(".")[0] in ("tests", "benchmarks")
    ]
    assert found == []


FORBIDDEN = {
    # module: why not
    "sqlite3": "old SQLite loses committed writes in WAL mode: APSW carries its own",
    "aiosqlite": "built on sqlite3", "pysqlite3": "APSW", "sqlean": "APSW",
    "pickle": "foreign bytes must not become objects", "marshal": "as pickle", "shelve": "as pickle",
    "requests": "blocks the loop: aiohttp", "httpx": "tests only, through litestar", "urllib.request": "aiohttp",
    "http.client": "aiohttp", "nest_asyncio": "one loop",
    "xml.etree": "foreign XML meets lxml's one parser factory only", "xml.dom": "lxml", "xml.sax": "lxml",
    "defusedxml": "lxml", "xmltodict": "lxml", "spyne": "zeep", "suds": "zeep", "xmlsec": "signxml",
    "aiobreaker": "pybreaker", "aio_pika": "pika", "kombu": "pika",
    "opentelemetry.instrumentation": "own middleware, seven times cheaper",
    "litestar.contrib": "litestar.plugins", "litestar.middleware.rate_limit": "not atomic, trusts X-Forwarded-For",
    "litestar.security.jwt": "joserfc",
    "jose": "joserfc", "passlib": "argon2", "authlib": "joserfc",
    "pydantic": "msgspec", "typer": "click", "pandas": "rows", "polars": "rows", "duckdb": "rows", "pyarrow": "rows",
    "aioresponses": "real sockets", "testcontainers": "real servers of tests/servers", "fakeredis": "real Valkey",
    "unittest.mock": "fakes that fulfil the port",
    "zeep.asyncio": "no deadline: aiohttp carries the bytes",
}  # fmt: skip
BANNED_NAMES = {
    "BlockingConnection": "pika on our loop", "AsyncTransport": "aiohttp carries SOAP", "alias_httpx": "no aliases",
    "retry_if_not_exception_type": "allow-lists only: it also retries a cancelled task",
}  # fmt: skip
EXCEPT = {
    ("tests", "httpx"), ("tests", "urllib.request"), ("tests", "http.client"), ("tests", "sqlite3"),
    ("benchmarks", "xml.etree"), ("benchmarks", "urllib.request"), ("benchmarks", "http.client"),
}  # fmt: skip


def test_no_file_uses_a_forbidden_library() -> None:
    found = []
    for path, text in importing(*FORBIDDEN):
        found += [
            f"{path}:{line}: {name}: {why}"
            for line, name in imports(text)
            for banned, why in FORBIDDEN.items()
            if (name + ".").startswith(banned + ".") and (path.parts[0], banned) not in EXCEPT
        ]
    for path, text in speaking(*BANNED_NAMES):
        if path != Path(__file__).relative_to(ROOT):
            found += [f"{path}: {name}: {why}" for name, why in BANNED_NAMES.items() if re.search(rf"\b{name}\b", text)]
    assert found == []


def test_contracts_and_mappings_ask_no_clock() -> None:
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, text in speaking("utcnow", "today", "now")
        if path.parts[0] in ("contracts", "mappings")
        for node in nodes(text)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and not node.args
        and (node.func.attr in ("utcnow", "today") or (node.func.attr == "now" and "date" in ast.unparse(node.func.value)))
    ]
    assert found == []


def test_incubating_attribute_names_are_imported_in_one_module() -> None:
    homes = {str(p) for p, text in texts() if p.suffix == ".py" and p.parts[0] != "tests" and "semconv._incubating" in text}
    assert len(homes) <= 1


def test_the_wheel_carries_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    assert project["project"]["scripts"] == {"tillgate": "gateway.cli:main"}
