"""E1–E3: who is primary, as each server is told, and what is refused with it."""

from __future__ import annotations

from tests.protocol.server import Server, version_of


async def test_e1_the_epoch_is_told_with_the_counters(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": 7})
    known = (await server.tool("GET", "/_turnout/epoch")).json
    assert set(known) == {"turnout", "epoch", "role", "journal", "number", "counters"}
    assert (known["turnout"], known["epoch"], known["role"]) == (1, server.epoch, "primary")
    assert known["journal"] == server.journal
    assert known["number"] > server.epoch * 2**40
    assert known["counters"][collection] == 7


async def test_e2_an_announcement_is_answered_with_what_is_so_now_and_may_be_repeated(
    server: Server,
) -> None:
    first = await server.announce("primary")
    again = await server.announce("primary", server.epoch)
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json == (await server.tool("GET", "/_turnout/epoch")).json


async def test_e2_a_lower_epoch_another_role_and_another_journal_are_refused(server: Server) -> None:
    await server.become("primary")
    before = (await server.tool("GET", "/_turnout/epoch")).json
    body = {"epoch": server.epoch, "role": "primary", "journal": server.journal}
    for change in (
        {"epoch": server.epoch - 1},
        {"role": "secondary"},
        {"journal": "another"},
        {"journal": "another", "epoch": server.epoch + 1},
        {"journal": "another", "adopt": True},
    ):
        if change.get("epoch") == 0:
            continue
        reply = await server.tool("POST", "/_turnout/epoch", {**body, **change})
        assert (reply.status, reply.code) == (409, "stale-epoch"), change
        assert (reply.json["epoch"], reply.json["journal"]) == (server.epoch, server.journal)
    assert (await server.tool("GET", "/_turnout/epoch")).json == before


async def test_e2_adopting_takes_another_journal_and_forgets_its_request_ids(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    assert (await server.write("POST", f"/api/{collection}", {"id": "a"}, 900, 900)).status == 201
    server.journal = f"{server.journal}x"
    assert (await server.announce("primary")).status == 200
    assert (await server.write("POST", f"/api/{collection}", {"id": "b"}, 1)).status == 201


async def test_e2_counters_are_raised_and_never_lowered(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.announce("primary", counters={collection: 4711})
    await server.announce("primary", counters={collection: 3})
    assert (await server.send("POST", f"/api/{collection}", {})).json["id"] == 4712


async def test_e2_the_counter_of_numbers_is_raised_to_the_epochs(server: Server, collection: str) -> None:
    await server.become("primary")
    assert (await server.announce("primary", server.epoch + 3)).json["number"] >= server.epoch * 2**40
    assert version_of(await server.send("POST", f"/api/{collection}", {}))[0] > server.epoch * 2**40


async def test_e3_whatever_comes_from_another_epoch_does_nothing(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a", "n": 1})
    for stale in (f"{server.epoch - 1} {server.journal}", f"{server.epoch + 1} {server.journal}",
                  f"{server.epoch} another"):  # fmt: skip
        late = {"Turnout-Epoch": stale}
        for method, target, body in (
            ("POST", f"/api/{collection}", {"id": "b"}),
            ("PATCH", f"/api/{collection}/a", {"n": 2}),
            ("DELETE", f"/api/{collection}/a", None),
            ("GET", f"/api/{collection}/a", None),
            ("GET", f"/api/{collection}", None),
            ("POST", "/_turnout/void", {"request": 1}),
            ("POST", "/_turnout/checkpoint", None),
            ("GET", f"/_turnout/buckets?collection={collection}", None),
        ):
            reply = await server.tool(method, target, body, late)
            assert (reply.status, reply.code) == (409, "stale-epoch"), (method, target)
            assert (reply.json["epoch"], reply.json["journal"]) == (server.epoch, server.journal)
    records = (await server.send("GET", f"/api/{collection}")).json
    assert [(record["id"], record["n"]) for record in records] == [("a", 1)]
