"""Files that were written for json-server: what each record's id is, what is told, and what the file says afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backends.errors import StartError
from backends.json_store import JsonStore

BLOG = {
    "$schema": "./node_modules/json-server/schema.json",
    "posts": [
        {"id": "1", "title": "a title", "views": 100},
        {"id": "2", "title": "another title", "views": 200},
    ],
    "comments": [{"id": 1, "text": "a comment", "postId": "1"}],
    "profile": {"name": "typicode"},
    "a name with spaces": [{"id": 1, "größe": None, "a b": 1, "": 2}],
    "nothing yet": [],
}


async def opened(
    folder: Path, content: object, **options: Any
) -> tuple[dict[str, list[dict]], list[dict[str, Any]]]:
    """What the store holds by collection, and what the log said. Without ``content``: of the file as it is."""
    path = folder / "db.json"
    if content is not None:
        path.write_text(json.dumps(content))
    with capture_logs() as logs:
        store = await JsonStore.open(path, **options)
        try:
            found = {
                name: [json.loads(body) async for _, body in store.scan(name)]
                for name in await store.collections()
            }
            if not options.get("read_only"):
                await store.checkpoint()
        finally:
            await store.close()
    return found, [dict(line) for line in logs if line["log_level"] == "warning"]


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "db.json").read_text())


async def test_the_file_of_json_servers_own_readme_is_served(tmp_path: Path) -> None:
    found, told = await opened(tmp_path, BLOG)
    assert found["posts"] == BLOG["posts"]
    assert found["a name with spaces"] == BLOG["a name with spaces"]
    assert found[""] == [{"name": "typicode"}]
    assert found["nothing yet"] == []
    assert [(line["event"], line["value"]) for line in told] == [("schema_line_left_out", BLOG["$schema"])]
    assert list(written(tmp_path)) == [name for name in BLOG if name != "$schema"]


async def test_records_without_an_id_get_the_next_numbers_and_the_file_says_so(tmp_path: Path) -> None:
    found, told = await opened(
        tmp_path, {"posts": [{"id": 7}, {"t": "a"}, {"id": None}, {"id": "", "t": "b"}]}
    )
    assert [record["id"] for record in found["posts"]] == [7, 8, 9, 10]
    assert [(line["event"], line["collection"], line["made"]) for line in told] == [("ids_given", "posts", 3)]
    assert written(tmp_path)["posts"] == [{"id": 7}, {"id": 8, "t": "a"}, {"id": 9}, {"id": 10, "t": "b"}]
    again, told = await opened(tmp_path, None)
    assert (again, told) == (found, [])


async def test_beside_words_the_ids_that_are_made_are_uuids_the_same_at_each_look(tmp_path: Path) -> None:
    content = {"tags": [{"id": "red"}, {"n": 1}, {"n": 2}]}
    first, _ = await opened(tmp_path, content, read_only=True)
    again, _ = await opened(tmp_path, content, read_only=True)
    assert first == again
    made = [record["id"] for record in first["tags"][1:]]
    assert len(set(made)) == 2
    assert all(len(one) == 36 for one in made)


async def test_the_field_that_is_named_is_the_id_where_there_is_none(tmp_path: Path) -> None:
    content = {"products": [{"sku": "A-1", "n": 1}, {"sku": 2}, {"id": 3, "sku": "C"}, {"n": 4}]}
    found, told = await opened(tmp_path, content, id_field="sku")
    assert found["products"][:3] == [
        {"id": "A-1", "sku": "A-1", "n": 1},
        {"id": 2, "sku": 2},
        {"id": 3, "sku": "C"},
    ]
    assert (told[0]["from_field"], told[0]["made"]) == (2, 1)


async def test_ids_of_odd_types_become_their_text(tmp_path: Path) -> None:
    found, told = await opened(tmp_path, {"a": [{"id": 1.5}, {"id": True}, {"id": -3}, {"id": 10**30}]})
    assert [record["id"] for record in found["a"]] == ["1.5", "true", -3, 10**30]
    assert told[0]["written_as_text"] == 2


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"id": [1]}], r"posts\[0\] has the id \[1\]"),
        ([{"id": "x" * 513}], r"posts\[0\] has the id"),
        ([{"id": 1}, {"id": "1"}], r"posts\[1\] has the id '1' that posts\[0\] has too"),
        ([1], r"posts\[0\] must be an object"),
    ],
)
async def test_what_cannot_be_served_is_named_with_its_place(
    tmp_path: Path, records: list, words: str
) -> None:
    with pytest.raises(StartError, match=words):
        await opened(tmp_path, {"posts": records})
    assert written(tmp_path) == {"posts": records}
    assert {path.name for path in tmp_path.iterdir()} <= {"db.json", "db.json.lock"}


async def test_a_record_added_by_hand_without_an_id_gets_one_never_given_before(tmp_path: Path) -> None:
    content: dict[str, list] = {"posts": [{"id": 1}, {"id": 2}]}
    await opened(tmp_path, content)
    (tmp_path / "db.json").write_text(json.dumps({"posts": [{"id": 1}, {"t": "new"}]}))
    found, _ = await opened(tmp_path, None)
    assert found["posts"] == [{"id": 1}, {"id": 3, "t": "new"}]
