"""`make run` from a stranger's side: it comes up with the sample data proved equal, does what the README says, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.support.demo import Demo

pytestmark = pytest.mark.slow


async def test_a_fresh_demo_answers_a_write_on_both_sides_and_a_stop_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    async with Demo(tmp_path) as demo:
        said = "".join(demo.said)
        assert "validate  equal: 5,015 records compared" in said
        for name in ("proxy", "json", "postgres"):
            assert demo.url(name) in said

        status, order = await demo.send("POST", "/api/orders", {"note": "two coffees"})
        assert status == 201
        target = f"/api/orders/{order['id']}"
        async with asyncio.timeout(1.0):
            while (await demo.get("postgres", target))[0] != 200:
                await asyncio.sleep(0.01)
        assert (await demo.get("json", target))[1] == (await demo.get("postgres", target))[1]

        code, said = await demo.interrupt()
    assert code == 0
    assert "the next start finds everything again" in said
    assert len(demo.children) >= 3
    assert not [child for child in demo.children if child.is_running()]

    async with Demo(tmp_path, port_base=demo.port_base) as again:
        assert (await again.get("proxy", target))[1] == json.dumps(order, separators=(",", ":")).encode()
        assert "backfill" not in "".join(again.said), "the second start has nothing to copy"


async def test_the_canary_answers_a_header_at_once_and_ten_of_every_hundred_others(tmp_path: Path) -> None:
    async with Demo(tmp_path) as demo:
        code, said = await demo.turnout("canary", "enable", "X-Canary", "canary=true", "10")
        assert code == 0, said

        _, _, headers = await demo.get("proxy", "/api/stores", X_Canary="canary=true")
        assert headers["X-Served-By"] == "postgres"

        edited = (demo.folder / ".turnout" / "routing.yaml").read_text()
        assert "sticky: none" in edited, "each request is counted for itself here"
        for _ in range(3):
            answered = [(await demo.get("proxy", "/api/stores"))[2]["X-Served-By"] for _ in range(100)]
            assert answered.count("postgres") == 10


async def test_an_edit_of_the_yaml_acts_within_a_second_under_load_and_no_request_fails(
    tmp_path: Path,
) -> None:
    async with Demo(tmp_path) as demo:
        statuses: list[int] = []
        served: list[str] = []
        is_over = asyncio.Event()

        async def client() -> None:
            while not is_over.is_set():
                status, _, headers = await demo.get("proxy", "/api/stores")
                statuses.append(status)
                served.append(headers["X-Served-By"])

        clients = [asyncio.create_task(client()) for _ in range(8)]
        file = demo.folder / ".turnout" / "routing.yaml"
        text = file.read_text()
        assert text.count("enabled: false") == 1
        for weight, expected in (("100", "postgres"), ("0", "json")):
            edited = text.replace("enabled: false", "enabled: true", 1)
            file.write_text(edited.replace("weight: 10 ", f"weight: {weight} ", 1))
            assert f"weight: {weight} " in file.read_text()
            async with asyncio.timeout(1.0):
                while served[-20:] != [expected] * 20:
                    await asyncio.sleep(0.01)
        file.write_text(text.replace("version: 1", "version: 1\nweigth: 5", 1))
        async with asyncio.timeout(2.0):
            while not (
                faults := json.loads((await demo.get("admin", "/api/v1/status"))[1])["routing"]["faults"]
            ):
                await asyncio.sleep(0.02)
        is_over.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
        assert len(statuses) > 100
        assert "weigth" in faults[0]
        line = next(n for n, one in enumerate(file.read_text().splitlines(), 1) if one.startswith("weigth"))
        assert f":{line}:1" in faults[0], "line and column of the typo"


async def test_a_switch_writes_and_a_rollback_lose_nothing_either_way(tmp_path: Path) -> None:
    async with Demo(tmp_path) as demo:
        made: dict[int, dict] = {}
        failed: list[tuple[int, dict]] = []
        is_over = asyncio.Event()

        async def writer(number: int) -> None:
            while not is_over.is_set():
                status, record = await demo.send("POST", "/api/orders", {"writer": number, "n": len(made)})
                if status == 201:
                    assert record["id"] not in made, "an id was given twice"
                    made[record["id"]] = record
                else:
                    failed.append((status, record))

        writers = [asyncio.create_task(writer(n)) for n in range(6)]
        for words, primary in (
            (("switch", "postgres", "Full migration"), "postgres"),
            (("rollback", "Emergency rollback"), "json"),
        ):
            before = len(made)
            async with asyncio.timeout(10):
                while len(made) < before + 30:
                    await asyncio.sleep(0.01)
            code, said = await demo.turnout(*words)
            assert code == 0, said
            assert f"{primary} is the primary" in said
            assert (await demo.get("proxy", "/api/stores"))[2]["X-Served-By"] == primary
        is_over.set()
        await asyncio.gather(*writers)
        assert not failed, "a write was refused during a switch"

        code, said = await demo.turnout("validate")
        assert code == 0, said
        for name in ("json", "postgres"):
            for record_id, record in made.items():
                _, body, _ = await demo.get(name, f"/api/orders/{record_id}")
                assert json.loads(body) == record


async def test_a_client_that_sends_garbage_is_told_400_and_others_go_on(tmp_path: Path) -> None:
    async with Demo(tmp_path, "--empty") as demo:
        reader, writer = await asyncio.open_connection("127.0.0.1", demo.port_base)
        writer.write(b"\x16\x03\x01 what is this\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await demo.get("proxy", "/api/orders"))[:2] == (200, b"[]")


async def test_a_port_in_use_is_named_with_the_option_to_change_it(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", demo.port_base + 2))
        taken.listen()
        await demo.spawn()
        code, said = await demo.ended()
    await demo.session.close()
    assert code == 1
    assert str(demo.port_base + 2) in said
    assert "--port-base" in said


async def test_a_folder_in_use_is_named_with_the_option_to_change_it(tmp_path: Path) -> None:
    async with Demo(tmp_path, "--empty") as first:
        second = Demo(tmp_path)
        await second.spawn()
        code, said = await second.ended()
        await second.session.close()
        assert code == 1
        assert str(first.folder / ".turnout") in said
        assert "--dir" in said
