"""OpenAPI documents as others write them: two dialects, two notations, several files, and everything that is wrong with them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from adapters.rest import document as documents
from adapters.rest.contract import RestContract
from contracts.errors import Findings
from mappings.language.sample import document
from mappings.language.shape import Field, Leaf, Record

Write = Callable[..., RestContract]


@pytest.fixture
def contract(tmp_path: Path) -> Write:
    """Writes files by name and loads the first."""

    def write(**files: str) -> RestContract:
        names = [name.replace("__", "/").replace("_", ".") for name in files]
        for name, text in zip(names, files.values(), strict=True):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(dedent(text), encoding="utf-8")
        return RestContract("shop", tmp_path / names[0])

    return write


def answer(of: RestContract, operation: str) -> Record:
    message = of.exchange(operation).answer
    assert message is not None
    return message.root


def asked(of: RestContract, operation: str) -> Record:
    message = of.exchange(operation).request
    assert message is not None
    return message.root


def member(record: Record, *path: str) -> Field:
    *above, last = path
    for name in above:
        shape = member(record, name).shape
        assert isinstance(shape, Record), name
        record = shape
    found = record.get(last)
    assert found is not None, f"{last} is not in {[f.name for f in record.fields]}"
    return found


SWAGGER = """
    swagger: '2.0'
    basePath: /api/v1/
    consumes: [application/json]
    produces: [application/json]
    parameters:
      page: {name: page, in: query, type: integer}
    definitions:
      Pet:
        {type: object, required: [kind], discriminator: kind, properties: {kind: {type: string}, name: {type: string, x-nullable: true}}}
      Cat: {allOf: [{$ref: '#/definitions/Pet'}, {type: object, properties: {lives: {type: integer}}}]}
      Error: {type: object, properties: {code: {type: string}}}
    paths:
      /pets/{id}:
        parameters: [{name: id, in: path, required: true, type: string, maxLength: 9}]
        get:
          operationId: getPet
          parameters: [{$ref: '#/parameters/page'}, {name: tags, in: query, type: array, items: {type: string}, collectionFormat: pipes}]
          responses:
            200: {description: '', schema: {$ref: '#/definitions/Pet'}}
            404: {description: '', schema: {$ref: '#/definitions/Error'}}
        put:
          parameters: [{name: any, in: body, required: true, schema: {$ref: '#/definitions/Pet'}}]
          responses: {204: {description: ''}}
        post:
          consumes: [application/x-www-form-urlencoded]
          parameters: [{name: name, in: formData, type: string, required: true}, {name: age, in: formData, type: integer}]
          responses: {default: {description: '', schema: {type: array, items: {type: string}}}}
    """


def test_swagger_2_describes_parameters_bodies_forms_answers_and_its_base_path(contract: Write) -> None:
    of = contract(api_yaml=SWAGGER)
    assert of.notes == []
    assert (of.base, of.operations()) == ("/api/v1", ("getPet", "put_pets_by_id", "post_pets_by_id"))
    get = of.operation("getPet")
    assert [(p.name, p.style, p.explode) for p in get.parameters] == [
        ("id", "simple", False),
        ("page", "form", False),
        ("tags", "pipeDelimited", False),
    ]
    assert member(asked(of, "getPet"), "id").shape == Leaf("string", max_length=9)
    assert (get.declares(404), get.declares(500)) == (True, None)
    assert member(answer(of, "getPet"), "name").nillable
    assert of.operation("put_pets_by_id").body_required
    assert member(asked(of, "put_pets_by_id"), "body", "kind").required
    form = of.operation("post_pets_by_id")
    assert (form.body, form.wraps) == ("application/x-www-form-urlencoded", "items")
    assert [(f.name, f.required) for f in records_of(member(asked(of, "post_pets_by_id"), "body"))] == [("name", True), ("age", False)]


def records_of(field: Field) -> list[Field]:
    assert isinstance(field.shape, Record)
    return field.shape.fields


def test_variants_are_found_by_discriminator_by_inheritance_and_by_constants(contract: Write) -> None:
    pet = answer(contract(api_yaml=SWAGGER), "getPet")
    assert (pet.by, pet.kinds) == ("kind", {"Cat": "Cat"})
    assert [f.name for f in pet.derived["Cat"].fields] == ["kind", "name", "lives"]
    of = contract(
        b_yaml="""
        openapi: 3.0.3
        components:
          schemas:
            Card: {type: object, required: [type], properties: {type: {type: string, enum: [card, debit]}, number: {type: string}}}
            Cash: {type: object, required: [type], properties: {type: {type: string, enum: [cash]}, drawer: {type: string}}}
        paths:
          /a:
            get:
              operationId: told
              responses: {'200': {description: '', content: {application/json: {schema: {type: object, properties: {
                 declared: {oneOf: [{$ref: '#/components/schemas/Card'}, {$ref: '#/components/schemas/Cash'}],
                            discriminator: {propertyName: type, mapping: {c: Card, m: '#/components/schemas/Cash'}}},
                 plain: {anyOf: [{$ref: '#/components/schemas/Card'}, {$ref: '#/components/schemas/Cash'}]}}}}}}}
        """
    )
    declared, plain = (member(answer(of, "told"), name).shape for name in ("declared", "plain"))
    assert isinstance(declared, Record)
    assert isinstance(plain, Record)
    assert declared.kinds == {"c": "Card", "m": "Cash"}
    assert plain.kinds == {"card": "Card", "debit": "Card", "cash": "Cash"}
    assert [f.name for f in plain.fields] == ["type"]
    assert plain.open


def test_an_object_whose_names_are_data_has_keys_and_values(contract: Write) -> None:
    of = contract(
        a_yaml="""
        openapi: 3.1.0
        paths:
          /a:
            post:
              operationId: maps
              requestBody: {content: {application/json: {schema: {type: object, properties: {meta: {type: object}}}}}}
              responses: {'200': {description: '', content: {application/json: {schema: {type: object, properties: {
                 names: {type: object, additionalProperties: {type: string}},
                 stock: {type: object, additionalProperties: {type: object, properties: {qty: {type: number}}}},
                 lists: {type: object, patternProperties: {'^x': {type: array, items: {type: string}}}}}}}}}}
        """
    )
    names, stock, lists = (member(answer(of, "maps"), name) for name in ("names", "stock", "lists"))
    assert (names.keyed, names.repeated) == (True, True)
    assert member(answer(of, "maps"), "names", "value").shape == Leaf("string")
    assert isinstance(stock.shape, Record)
    assert member(stock.shape, "value", "qty").shape == Leaf("decimal")
    assert isinstance(lists.shape, Record)
    assert member(lists.shape, "value").repeated
    written = of.on_wire("maps", {"body": {"meta": [{"key": "a", "value": "1"}, {"key": "b", "value": 2}]}})
    assert written == {"body": {"meta": {"a": "1", "b": 2}}}


def test_yaml_is_read_as_version_1_2_with_merges_and_aliases(contract: Write) -> None:
    of = contract(
        a_yaml="""
        openapi: 3.0.0
        x-common: &common {description: shared, content: {application/json: {schema: {type: object, properties: {
          answer: {type: string, enum: [no, yes, on, 2020-01-01]}}}}}}
        paths:
          /a:
            get:
              operationId: merged
              responses: {200: {<<: *common, description: own}, 404: *common}
        """
    )
    assert member(answer(of, "merged"), "answer").shape == Leaf("string", enum=("no", "yes", "on", "2020-01-01"))
    assert of.operation("merged").declares(404)


def test_references_lead_through_the_files_of_the_folder_and_never_out_of_it(contract: Write, tmp_path: Path) -> None:
    of = contract(
        api_yaml="""
        openapi: 3.0.0
        paths:
          /a: {$ref: 'paths/a.yaml#/a'}
        """,
        paths__a_yaml="""
        a:
          get:
            operationId: far
            responses: {'200': {description: '', content: {application/json: {schema: {$ref: '../schemas.json#/Order'}}}}}
        """,
        schemas_json=json.dumps(
            {
                "Order": {
                    "type": "object",
                    "properties": {"id": {"$ref": "#/Id"}, "next": {"$ref": "#/Order"}, "x": {"$ref": "../../x.json"}},
                },
                "Id": {"type": "string", "maxLength": 7},
            },
            indent=1,
        ),
    )
    root = answer(of, "far")
    assert member(root, "id").shape == Leaf("string", max_length=7)
    assert member(root, "next").shape is root
    assert member(root, "x").shape == Leaf("any")
    assert "outside the contract's folder" in str(of.notes[0])
    (tmp_path / "secret.txt").write_text("x: y")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "api.yaml").write_text("openapi: 3.0.0\npaths: {/a: {$ref: '../secret.txt'}}")
    assert RestContract("shop", tmp_path / "folder" / "api.yaml").operations() == ()


def test_names_are_stable_and_each_its_own(contract: Write) -> None:
    of = contract(
        a_yaml="""
        openapi: 3.0.0
        servers: [{url: 'https://{host}.example.com/{version}', variables: {host: {default: a}, version: {default: v2}}}]
        paths:
          /a/{b}: {get: {responses: {}}, post: {operationId: repos/make it, responses: {}}}
          /a/by_b: {get: {responses: {}}, post: {operationId: repos/make it, responses: {}}}
          /A_Order('{Id}'): {get: {responses: {}}}
        """
    )
    assert of.operations() == ("get_a_by_b", "repos_make_it", "get_a_by_b_2", "post_a_by_b", "get_A_Order_by_Id")
    assert of.base == "/v2"
    assert "used twice" in of.notes[0].message
    assert of.notes[0].line > 1
    assert [p.name for p in of.operation("get_a_by_b").parameters] == ["b"]
    with pytest.raises(KeyError, match="did you mean 'repos_make_it'"):
        of.operation("repos/make it")


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("openapi: 3.0.0\npaths: [\n", 3, "not readable as YAML"),
        ("openapi: 3.0.0\npaths:\n  /a: &x {get: *x}\n", 3, "the alias x names nothing"),
        (BOMB, 7, "unfolds"),
        ("x: " + "[" * 600 + "]" * 600, 1, "nested more than"),
        ("? [a]\n: b\n", 1, "a key that is no text"),
        ("openapi: 3.0.0\n\x00", 1, "not readable as YAML"),
        ("info: {}\npaths: {}\n", 1, "no OpenAPI document"),
        ("swagger: 1.2\n", 1, "its version is '1.2'"),
        ("just text", 1, "no OpenAPI document"),
        ("", 1, "no OpenAPI document"),
    ],
)
def test_what_is_no_document_is_a_finding_with_its_line(contract: Write, text: str, line: int, says: str) -> None:
    with pytest.raises(Findings) as caught:
        contract(a_yaml=text)
    (finding,) = caught.value.findings
    assert says in finding.message
    assert finding.line == line


def test_a_document_of_many_megabytes_is_refused_before_it_is_read(contract: Write, tmp_path: Path) -> None:
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    with pytest.raises(Findings, match="at most"):
        RestContract("shop", tmp_path / "big.yaml")


# ---- operations by hand -----------------------------------------------------------------------------------------------

DECLARED = """
    [operation.findStock]
    method   = "GET"
    path     = "/stock/{sku}"
    query    = { warehouse = "string", ids = "integer[]" }
    required = ["warehouse"]
    answer   = ["one.json", "two.json"]
    absent   = [404]

    [operation.makeOrder]
    method  = "POST"
    path    = "/orders"
    request = "order.schema.yaml"
    answer  = "created.json"
    """


def test_operations_are_declared_by_hand_with_samples_and_schemas(contract: Write) -> None:
    of = contract(
        shop_toml=DECLARED,
        one_json='{"sku": "a", "qty": 1, "bins": [{"no": "1"}, {"no": "2", "qty": 1.5}], "old": null}',
        two_json='{"sku": "a", "qty": 1.5, "bins": [], "old": "x"}',
        created_json='"4711"',
        order_schema_yaml="type: object\nrequired: [ref]\nproperties: {ref: {type: string, maxLength: 20}}",
    )
    assert of.operations() == ("findStock", "makeOrder")
    assert [(f.name, f.required, f.repeated) for f in asked(of, "findStock").fields] == [
        ("sku", True, False),
        ("warehouse", True, False),
        ("ids", False, True),
    ]
    root = answer(of, "findStock")
    assert [(f.name, f.required, f.nillable) for f in root.fields] == [
        ("sku", False, False),
        ("qty", False, False),
        ("bins", False, False),
        ("old", False, True),
    ]
    assert member(root, "qty").shape == Leaf("decimal")
    assert member(root, "bins", "qty").shape == Leaf("decimal")
    assert of.operation("findStock").declares(404)
    assert member(asked(of, "makeOrder"), "body", "ref").shape == Leaf("string", max_length=20)
    assert of.operation("makeOrder").wraps == "value"
    assert of.notes == []


def test_operations_by_hand_add_to_a_document_and_correct_it(contract: Write) -> None:
    of = contract(
        shop_toml="""
            document = "api.yaml"
            [operation.getPet]
            query  = { fields = "string" }
            answer = "pet.json"
            [operation.extra]
            method = "GET"
            path   = "/extra"
            answer = "api.yaml#/definitions/Pet"
            """,
        api_yaml=SWAGGER,
        pet_json='{"surprise": true}',
    )
    assert [f.name for f in asked(of, "getPet").fields] == ["id", "page", "tags", "fields"]
    assert [f.name for f in answer(of, "getPet").fields] == ["surprise"]
    assert answer(of, "extra").kinds == {"Cat": "Cat"}
    assert of.base == "/api/v1"


def test_mistakes_in_operations_by_hand_are_found_all_at_once(contract: Write) -> None:
    with pytest.raises(Findings) as caught:
        contract(
            shop_toml="""
            shop = 1
            [operation.a]
            method = "FETCH"
            path   = "/a"
            [operation.b]
            path = "/b"
            [operation.c]
            method = "GET"
            path = "no slash"
            [operation.d]
            method = "GET"
            path = "/d"
            query = { n = "strnig" }
            required = ["m"]
            [operation.e]
            method = "GET"
            path = "/e"
            answer = "gone.json"
            """
        )
    said = [str(f) for f in caught.value.findings]
    assert [f.line for f in caught.value.findings] == [1, 3, 6, 8, 11, 16]
    for part, words in zip(
        said, ("unknown key shop", "FETCH", "belong together", "path", "strnig", "not in the contract's folder"), strict=True
    ):
        assert words in part
    with pytest.raises(Findings, match="did you mean getPet"):
        contract(shop_toml='document = "api.yaml"\n[operation.getPte]\nquery = { a = "string" }', api_yaml=SWAGGER)


# ---- the world --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "operations", "base"), [("adobe", 614, "/rest/default"), ("medusa", 308, "")])
def test_large_foreign_documents_describe_all_their_operations(samples: Path, name: str, operations: int, base: str) -> None:
    (path,) = (samples / "openapi").glob(f"{name}*")
    of = RestContract(name, path)
    assert (len(of.operations()), of.base) == (operations, base)
    answers = [exchange.answer for exchange in map(of.exchange, of.operations())]
    assert sum(1 for answer in answers if answer is not None and answer.root.fields) > operations // 2
    assert of.notes == []


@pytest.mark.slow
def test_a_document_with_anything_wrong_anywhere_is_described_or_a_finding(tmp_path: Path, deep: bool) -> None:
    whole = json.loads((Path(__file__).parents[4] / "contracts/systems/oms/openapi.json").read_text())
    odd: tuple[Any, ...] = (
        *(None, True, 0, -1, 1.5, 10**30, "", "x", "object", [], {}, [None], [[]], {"": {}}, {"$ref": "#"}, {"$ref": "#/paths"}),
        *({"$ref": 7}, {"$ref": "#/components/schemas/Order"}, {"allOf": [{"$ref": "#/components/schemas/Order"}] * 3}, {"type": "array"}),
        *(
            {"oneOf": [{"type": "string"}, {"type": "object"}], "discriminator": "x"},
            {"discriminator": {"propertyName": ["a"], "mapping": 3}},
        ),
        *(
            {"type": ["object", "null", 4]},
            {"additionalProperties": {"$ref": "#"}},
            {"enum": [[], {}, 1]},
            {"pattern": "(", "type": "string"},
        ),
    )
    rng, described = random.Random(7), 0
    for _ in range(3_000 if deep else 100):
        document_ = json.loads(json.dumps(whole))
        for _ in range(rng.randrange(1, 6)):
            here, key = document_, rng.choice(list(document_))
            while isinstance(here[key], dict | list) and here[key] and rng.random() < 0.85:
                here = here[key]
                key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
            if rng.random() < 0.2:
                del here[key]
                if not document_:
                    break
            else:
                here[key] = deepcopy(rng.choice(odd))
        (tmp_path / "o.json").write_text(json.dumps(document_))
        with suppress(Findings):
            of = RestContract("oms", tmp_path / "o.json")
            for operation in of.operations():
                exchange = of.exchange(operation)
                for message in (exchange.request, exchange.answer):
                    if message is not None:
                        document(message)
            described += 1
    assert described > 30


@pytest.mark.parametrize("name", ["a\0b.json", "a" * 5_000 + ".json", "circle.json"])
def test_a_reference_that_no_file_can_have_as_its_name_is_noted(contract: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "circle.json").symlink_to("circle.json")
    schema = {"type": "object", "properties": {"a": {"$ref": f"{name}#/a"}}}
    get = {"operationId": "getIt", "responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
    of = contract(openapi_json=json.dumps({"openapi": "3.0.0", "paths": {"/a": {"get": get}}}))
    assert member(answer(of, "getIt"), "a").shape.kind == "any"  # type: ignore[union-attr]  # a leaf
    assert "is no name of a file" in of.notes[0].message
