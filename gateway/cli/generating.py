"""`tillgate generate`: a typed client of one API version, written from its published contract."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import rich_click as click

from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from gateway.cli.settings import Settings
from gateway.edge import deadline, openapi, problems

PACKAGE: Final = "retail_api"
_WIDTH: Final = 140
_CONDITIONAL: Final = {"If-None-Match", "If-Match", "Idempotency-Key", "API-Version"}
"""Headers that the client sends of its own accord, or under a name of its own."""
_SCALARS: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_FORMATS: Final = {"date-time": "datetime", "date": "date"}

_OF_THE_TRANSPORT: Final = frozenset({"Problem", "Mistake"})
"""Schemas that `transport` reads by itself."""

Schema = Mapping[str, Any]


def package(document: Schema, catalogue: Iterable[Schema]) -> dict[str, str]:
    """File name -> text of a Python package: every schema, every operation and every problem of one version. Needs msgspec and aiohttp."""
    types = _Types(document["components"]["schemas"])
    return {
        "__init__.py": _exports(document, types, codes := list(catalogue)),
        "client.py": _client(document, types),
        "models.py": types.module(),
        "problems.py": _problems(codes),
        "py.typed": "",
        "transport.py": Path(__file__).with_name("client_transport.py").read_text(encoding="utf-8"),
    }


def snake(name: str) -> str:
    """`orderNumber`, `If-Match` -> `order_number`, `if_match`."""
    found = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower()
    return f"{found}_" if keyword.iskeyword(found) else found


def pascal(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\W_]+", name))


class _Types:
    """Schemas as msgspec Structs and names of enumerations."""

    def __init__(self, schemas: Schema) -> None:
        self._schemas = schemas
        self._enums = self._named()
        self.names = sorted([*(n for n in schemas if n not in _OF_THE_TRANSPORT), *self._enums.values()])

    def _named(self) -> dict[tuple[str, ...], str]:
        """Values -> name: the field's where that is two words or more and stands for nothing else, else with the schema's before it."""
        uses: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        homes: dict[tuple[tuple[str, ...], str], str] = {}
        for name, schema in self._schemas.items():
            if name not in _OF_THE_TRANSPORT and not self._base(schema):
                for field, found in schema.get("properties", {}).items():
                    if values := tuple(map(str, found.get("enum", found.get("items", {}).get("enum", ())))):
                        uses[values][field] += 1
                        homes.setdefault((values, field), name + pascal(field))
        often = {values: min(found, key=lambda f: (-found[f], len(f))) for values, found in uses.items()}
        ambiguous = Counter(often.values())
        return {
            values: pascal(field)
            if ambiguous[field] == 1 and field != field.lower() and pascal(field) not in self._schemas
            else homes[values, field]
            for values, field in often.items()
        }

    def of(self, schema: Schema) -> str:
        """The annotation for a value of this schema."""
        if "$ref" in schema:
            return str(schema["$ref"]).rpartition("/")[2]
        if "enum" in schema:
            values = tuple(map(str, schema["enum"]))
            return self._enums.get(values) or f"Literal[{', '.join(map(_quoted, values))}]"
        kind = schema.get("type", "")
        if kind == "array":
            return f"tuple[{self.of(schema['items'])}, ...]"
        if kind == "object":
            return f"dict[str, {self.of(schema['additionalProperties'])}]" if schema.get("additionalProperties") else "dict[str, Any]"
        return _FORMATS.get(schema.get("format", "")) or _SCALARS.get(kind, "Any")

    def argument(self, schema: Schema) -> str:
        """The annotation for a parameter of a request: one value stands for a list of one."""
        if schema.get("type") == "array":
            item = self.of(schema["items"])
            return f"{item} | Sequence[{item}]"
        return self.of(schema)

    def items(self, name: str) -> str:
        """What a collection holds."""
        return self.of(self._schemas[name]["properties"]["items"]["items"])

    def is_collection(self, name: str) -> bool:
        return "items" in self._schemas[name].get("properties", {})

    def module(self) -> str:
        blocks = [
            *(
                f"{name} = {_call('Literal[', map(_quoted, values), ']', len(name) + 3)}"
                for values, name in sorted(self._enums.items(), key=_name)
            ),
            *("\n\n" + self._struct(n, each) for n, each in sorted(self._schemas.items(), key=self._order) if n not in _OF_THE_TRANSPORT),
        ]
        text = "\n".join(blocks)
        imported = [
            *([f"from datetime import {', '.join(found)}"] if (found := [n for n in ("date", "datetime") if _mentions(n, text)]) else []),
            *([f"from typing import {', '.join(found)}"] if (found := [n for n in ("Any", "Literal") if _mentions(n, text)]) else []),
        ]
        head = [
            '"""What the API takes and gives, in the shapes of one version. A field that is None was not there: it is not known."""',
            "",
        ]
        return "\n".join([*head, "from __future__ import annotations", "", *imported, "", "import msgspec", "", text]) + "\n"

    def _order(self, item: tuple[str, Schema]) -> tuple[bool, bool, str]:
        """By name; before them what others make as a default, behind them what is another one and more."""
        reference = f"#/components/schemas/{item[0]}"
        fields = [f for schema in self._schemas.values() for f in schema.get("properties", {}).values()]
        return not any(f.get("$ref") == reference and "default" in f for f in fields), bool(self._base(item[1])), item[0]

    def _base(self, schema: Schema) -> str:
        """The schema whose members this one has, and more; empty: none that the API has by itself."""
        name = str(schema.get("x-extends", ""))
        return name if name in self._schemas else ""

    def _struct(self, name: str, schema: Schema) -> str:
        required = schema.get("required", ())
        base = self._base(schema)
        fields = {
            f: found for f, found in schema.get("properties", {}).items() if f not in self._schemas.get(base, {}).get("properties", {})
        }
        renamed = {snake(f): f for f in fields if _camel(snake(f)) != f}
        rename = f"rename={{{', '.join(f'{_quoted(k)}: {_quoted(v)}' for k, v in renamed.items())}}}" if renamed else 'rename="camel"'
        lines = [f"class {name}({base or 'msgspec.Struct'}, frozen=True, kw_only=True, omit_defaults=True, {rename}):"]
        if about := _docstring(schema.get("description", "")):
            lines += [about, ""]
        for field, found in fields.items():
            lines.append(f"    {snake(field)}: {self._declared(found, required=field in required)}")
            if text := found.get("description"):
                lines.append(_docstring(text))
        return "\n".join(lines if fields else [*lines, "    pass"])

    def _declared(self, schema: Schema, *, required: bool) -> str:
        kind = self.of(schema)
        if required:
            return kind
        default = schema.get("default")
        if isinstance(default, dict):
            return f"{kind} = msgspec.field(default_factory={kind if '$ref' in schema else 'dict'})"
        if default is None or schema.get("type") == "array":
            return f"{kind} = ()" if schema.get("type") == "array" and default is not None else f"{kind} | None = None"
        return f"{kind} = {_quoted(default) if isinstance(default, str) else repr(default)}"


def _client(document: Schema, types: _Types) -> str:
    info = document["info"]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "delete", "patch")
    ]
    methods = "\n\n".join(_method(*one, types) for one in operations)
    code = _CLIENT.format(title=info["title"], version=info["version"], name=pascal(PACKAGE), methods=methods)
    used = sorted((name for name in types.names if _mentions(name, code)), key=str.lower)
    standard = [
        *([f"from collections.abc import {', '.join(found)}"] if (found := [n for n in ("Sequence",) if _mentions(n, code)]) else []),
        *([f"from datetime import {', '.join(found)}"] if (found := [n for n in ("date", "datetime") if _mentions(n, code)]) else []),
        f"from typing import {', '.join(n for n in ('Final', 'Literal', 'Self') if _mentions(n, code))}",
        *(["from urllib.parse import quote"] if _mentions("quote", code) else []),
    ]
    runtime = [n for n in ("Answer", "Credential", "Limits", "Paged", "Transport", "new_key") if _mentions(n, code)]
    own = [
        _call(f"from .{module} import ", names, "", 0, imported=True)
        for module, names in (("models", used), ("problems", ["BY_CODE"]), ("transport", runtime))
    ]
    about = f'"""{info["title"]}, version {info["version"]}: one method per operation."""'
    return "\n".join([about, "", "from __future__ import annotations", "", *standard, "", "import aiohttp", "", *own, "", "", code])


_CLIENT: Final = '''class {name}:
    """{title}, version {version}. A context manager; or call `close` at the end.

    Give the address without a path, and an API key or token (or a coroutine function that gives one).
    """

    VERSION: Final = "{version}"

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        *,
        limits: Limits | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """`session`: for TLS settings and a pool of one's own; it is closed with this client."""
        self._transport = Transport(
            base_url=base_url,
            credential=credential,
            version=self.VERSION,
            problems=BY_CODE,
            limits=limits or Limits(),
            session=session,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

{methods}
'''


def _method(method: str, path: str, operation: Schema, types: _Types) -> str:
    given = [p for p in operation["parameters"] if p["name"] not in _CONDITIONAL and p["name"] != "fields"]  # a selection has no fixed type
    names = {p["name"] for p in operation["parameters"]}
    answer = types.of(next(r for status, r in operation["responses"].items() if status[0] == "2")["content"]["application/json"]["schema"])
    paged = "cursor" in names and types.is_collection(answer)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    takes, optional, query, headers = ["self"], [], [], []
    for parameter in given:
        name, kind = snake(parameter["name"]), types.argument(parameter["schema"])
        if paged and parameter["name"] == "cursor":
            continue
        if parameter["in"] == "query":
            query.append(f"({_quoted(parameter['name'])}, {name})")
        elif parameter["in"] == "header":
            kind = "float" if parameter["name"] == deadline.FIELD else kind
            headers.append(f"({_quoted(parameter['name'])}, {name})")
        if parameter["required"]:
            takes.append(f"{name}: {kind}")
        else:
            optional.append(f"{name}: {kind} | None = None")
    if body:
        takes.append(f"body: {types.of(body)}")
    if "If-Match" in names:
        optional.append("if_match: str | None = None")
        headers.append('("If-Match", if_match)')
    if "Idempotency-Key" in names:
        optional.append("idempotency_key: str | None = None")
    known = "If-None-Match" in names and not paged
    if known:
        optional.append(f"known: Answer[{answer}] | None = None")
    target = _path(path)
    passed = [_quoted(method), target, answer]
    if query:
        passed.append(f"query={_listed(query)}")
    if headers:
        passed.append(f"headers={_listed(headers)}")
    if body:
        passed.append("body=body")
    if "Idempotency-Key" in names:
        passed.append("idempotency_key=idempotency_key or new_key()")
    if known:
        passed.append("known=known")
    arguments = [*takes, *(["*", *optional] if optional else [])]
    about = _docstring(_about(operation), indent=8)
    name = snake(operation["operationId"])
    if not paged:
        head = _call(f"    async def {name}(", arguments, f") -> Answer[{answer}]:", 0, indent=4)
        return "\n".join([head, about, _call("        return await self._transport.call(", passed, ")", 0, indent=8)])
    item = types.items(answer)
    head = _call(f"    def {name}(", arguments, f") -> Paged[{answer}, {item}]:", 0, indent=4)
    first = _call("            return await self._transport.call(", passed, ")", 0, indent=12)
    return "\n".join([
        head, about, "",
        f"        async def page(link: str | None) -> Answer[{answer}]:",
        "            if link is not None:",
        f"                return await self._transport.call({_quoted(method)}, link, {answer})",
        first, "",
        "        return Paged(page, lambda page: page.items)",
    ])  # fmt: skip


def _about(operation: Schema) -> str:
    codes = sorted({
        pascal(code)
        for status, response in operation["responses"].items()
        if status in ("404", "409", "412", "422")
        for code in re.findall(r"`([^`]*)`", str(response.get("description", "")))
    })  # fmt: skip
    return f"{operation['summary'].rstrip('.')}. {operation.get('description', '')}" + (f"\n\nRaises {', '.join(codes)}." if codes else "")


def _path(path: str) -> str:
    if "{" not in path:
        return _quoted(path)
    return 'f"' + re.sub(r"\{(\w+)\}", lambda m: f"{{quote({snake(m[1])}, safe='')}}", path) + '"'


def _problems(catalogue: Iterable[Schema]) -> str:
    rows = sorted(catalogue, key=lambda row: str(row["code"]))
    classes = [
        "\n".join([
            f"class {pascal(row['code'])}(Problem):",
            _docstring(f"{row['title']} ({row['status']}, {'the fault of the ' + row['fault']}). {row['advice']}"),
        ])
        for row in rows
    ]  # fmt: skip
    table = ["BY_CODE: Final[Mapping[str, type[Problem]]] = {", *(f"    {_quoted(r['code'])}: {pascal(r['code'])}," for r in rows), "}"]
    head = [
        '"""Everything that can go wrong, one class per code of the catalogue."""', "", "from __future__ import annotations", "",
        "from collections.abc import Mapping", "from typing import Final", "", "from .transport import Problem", "", "",
    ]  # fmt: skip
    return "\n".join([*head, "\n\n\n".join(classes), "", "", *table, ""])


def _exports(document: Schema, types: _Types, catalogue: Iterable[Schema]) -> str:
    info = document["info"]
    modules = {
        "client": [pascal(PACKAGE)],
        "models": types.names,
        "problems": sorted(pascal(row["code"]) for row in catalogue),
        "transport": ["Answer", "ApiError", "Limits", "Paged", "Place", "Problem", "UnexpectedAnswer", "Unanswered", "VersionDeprecated"],
    }
    taken = Counter(name for names in modules.values() for name in names)
    if twice := [name for name, n in taken.items() if n > 1]:
        raise ValueError(f"{twice[0]} would name two things of the package")
    imports = [_call(f"from .{module} import ", sorted(names, key=str.lower), "", 0, imported=True) for module, names in modules.items()]
    everything = ["__all__ = [", *(f"    {_quoted(name)}," for name in sorted(taken)), "]"]
    about = _docstring(
        f"{info['title']}, version {info['version']}, as typed Python. `tillgate generate python` wrote it: change the contract, not this.",
        indent=0,
    )
    return "\n".join([about, "", *imports, "", *everything, ""])


def _call(before: str, arguments: Iterable[str], after: str, used: int, *, indent: int = 0, imported: bool = False) -> str:
    """On one line where it fits, else one argument a line, as a formatter leaves it."""
    given = list(arguments)
    line = before + ", ".join(given) + after
    if used + len(line) <= _WIDTH:
        return line
    opened, closed = ("(", ")") if imported else ("", "")
    return "\n".join(
        [
            before + opened,
            *(f"{' ' * (indent + 4)}{one}," if one != "*" else f"{' ' * (indent + 4)}*," for one in given),
            " " * indent + closed + after,
        ]
    )


def _listed(pairs: list[str]) -> str:
    return f"[{', '.join(pairs)}]"


def _docstring(text: str, indent: int = 4) -> str:
    """Escaped, folded to the width; empty for an empty text."""
    if not text.strip():
        return ""
    clean = text.strip().replace("\\", "\\\\").replace('"""', "'''")
    paragraphs = [textwrap.wrap(" ".join(p.split()), _WIDTH - indent - 8, break_long_words=False) for p in clean.split("\n\n")]
    lines = [line for number, paragraph in enumerate(paragraphs) for line in ([""] if number else []) + paragraph]
    if lines[-1].endswith('"'):
        lines[-1] += "."
    pad = " " * indent
    if len(lines) == 1:
        return f'{pad}"""{lines[0]}"""'
    return "\n".join([f'{pad}"""{lines[0]}', *(pad + line if line else "" for line in lines[1:]), f'{pad}"""'])


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _mentions(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w.\"]){name}\b(?!\")", text) is not None


def _name(item: tuple[tuple[str, ...], str]) -> str:
    return item[1]


def example() -> Iterator[tuple[str, str]]:
    """Path in the repository -> text of the client that is committed as an example, of the newest version."""
    document = openapi.document(ENDPOINTS, HISTORY, HISTORY.newest.date, "Retail API")
    for name, text in package(document, problems.catalogue()).items():
        yield f"docs/examples/python/{PACKAGE}/{name}", text


@click.group("generate")
def generate() -> None:
    """Code from the published contract."""


@generate.command("python")
@click.option("--version", "version", default=HISTORY.newest.date, show_default=True, help="API version that the client speaks.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help=f"Folder for the package `{PACKAGE}`.")
@click.pass_obj
def python(settings: Settings, version: str, out: Path) -> None:
    """Write a typed Python client of one API version: a package that needs msgspec and aiohttp, and nothing of Tillgate."""
    if version not in HISTORY.by_date:
        raise click.BadParameter(f"expected one of {', '.join(HISTORY.by_date)}, got {version}", param_hint="--version")
    document = openapi.document(ENDPOINTS, HISTORY, version, "Retail API")
    folder = out / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in package(document, problems.catalogue(HISTORY, version)).items():
        (folder / name).write_text(text, encoding="utf-8")
    types = document["components"]["schemas"].keys() - _OF_THE_TRANSPORT
    click.echo(f"{folder}: {len(types)} types, {sum(map(len, document['paths'].values()))} operations")
