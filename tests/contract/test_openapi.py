"""The OpenAPI document says what the servers do: generated requests of every operation meet no fault and nothing undocumented."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from tests.contract.conftest import UUID7
from tests.support.api import Api
from tests.support.pair import Pair, both_servers

EXAMPLES = 10
"""For each operation, each of what is valid and of what is not."""

NOT_CHECKED = (
    "positive_data_acceptance",  # what excludes each other (_page and _start) OpenAPI cannot say
    "negative_data_rejection",  # any text is a filter, any object a record: most of it is no mistake
    "missing_required_header", "ignored_auth",  # there are none
    "use_after_free", "ensure_resource_availability",  # a POST of a deleted id makes it anew
)  # fmt: skip


async def test_the_document_names_what_is_there_now(server: Api) -> None:
    await server.post("/api/orders", {"id": 1})
    await server.post("/api/odd%20%7Bname%7D", {"id": 1})
    await server.seed("", b'{"id":"settings","body":{"a":1},"at":0}')
    document = (await server.get("/api/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    assert sorted(document["paths"]) == [
        "/api/odd%20%7Bname%7D", "/api/odd%20%7Bname%7D/{id}", "/api/openapi.json", "/api/orders", "/api/orders/{id}",
        "/api/settings", "/api/{collection}", "/api/{collection}/{id}",
    ]  # fmt: skip
    assert sorted(document["paths"]["/api/settings"]) == ["get", "head", "options", "patch", "put"]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests_meet_no_fault_and_nothing_undocumented(
    tmp_path: Path, database_url: str, mode: GenerationMode
) -> None:
    with both_servers(tmp_path) as pair:
        for record in ({"id": 1, "name": "Ann", "customer_id": 2}, {"id": 2, "tags": ["a"]}):
            pair.ask("POST", "/api/orders", json.dumps(record).encode())
        schema = schemathesis.openapi.from_dict(json.loads(pair.ask("GET", "/api/openapi.json").body))
        for found in schema.get_all_operations():
            operation = found.ok()
            _drive(pair, operation.as_strategy(generation_mode=mode))


def _drive(pair: Pair, cases) -> None:
    checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_CHECKED]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def run(case: schemathesis.Case) -> None:
        if (case.path_parameters or {}).get("collection") == "openapi.json":
            return  # no collection: the document itself
        answers = []
        for base in pair.bases.values():
            try:
                answer = case.call(base_url=base)
            except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
                return  # no client can send that
            case.validate_response(answer, checks=checks)
            answers.append(answer)
        first, second = answers
        assert first.status_code == second.status_code
        if not UUID7.search(first.content):
            assert first.content == second.content

    with contextlib.suppress(Unsatisfiable):  # an OPTIONS has nothing that could be wrong
        run()
