"""P3, P4 and P6 with a network that breaks between the proxy and an upstream, while many clients write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Tally, verdict_on
from tests.support.fault_proxy import Fault, Kind
from tests.support.line import Line
from tests.support.load import Load

pytestmark = pytest.mark.slow

NOT_HTTP = b"SSH-2.0-OpenSSH_9.6\r\n"
SERVER_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
OTHER_BODY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
SHORT = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"

FAULTS = {
    "refuses": Fault(Kind.REFUSE),
    "resets": Fault(Kind.RESET),
    "swallows": Fault(Kind.BLACK_HOLE),
    "cuts-requests-in-the-head": Fault(Kind.CUT_REQUEST, after_bytes=60),
    "cuts-requests-in-the-body": Fault(Kind.CUT_REQUEST, after_bytes=700),
    "cuts-answers": Fault(Kind.CUT_ANSWER, after_bytes=90),
    "is-slow": Fault(Kind.SLOW, delay_s=0.05),
    "executes-and-answers-500": Fault(Kind.WRONG_ANSWER, answer=SERVER_ERROR),
    "executes-and-answers-nonsense": Fault(Kind.WRONG_ANSWER, answer=NOT_HTTP),
    "executes-and-answers-half": Fault(Kind.WRONG_ANSWER, answer=SHORT),
    "gets-requests-late": Fault(Kind.LATE, delay_s=0.3),
}
OF_THE_SECONDARY = {**FAULTS, "executes-and-answers-otherwise": Fault(Kind.WRONG_ANSWER, answer=OTHER_BODY)}


async def test_p6_a_secondary_behind_a_broken_network_costs_no_client_an_error(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url, faults=("postgres",)) as line:
        await line.open_for_writes()
        network = line.faults["postgres"]
        async with Load(line.ports["proxy"], 1) as load:
            await load.acknowledged(20)
            log = await load.stop()
        for seed, (name, fault) in enumerate(OF_THE_SECONDARY.items(), 2):
            async with Load(line.ports["proxy"], seed, log=log) as load:
                await network.set(fault)
                await load.acknowledged_more(40)
                if fault.kind is not Kind.REFUSE:
                    await network.acted(3)
                await network.clear()
                await load.acknowledged_more(10)
                log = await load.stop()
            await network.delivered()
            verdict = await verdict_on(line, log, tally)
            assert verdict.is_clean, f"{name}: {verdict}"
        assert {write.status for write in log.writes} <= {200, 201, 404, 412}, "a client saw an error"


async def test_p3_a_primary_behind_a_broken_network_loses_and_doubles_nothing(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url, faults=("json",)) as line:
        await line.open_for_writes()
        network = line.faults["json"]
        async with Load(line.ports["proxy"], 1) as load:
            await load.acknowledged(20)
            log = await load.stop()
        for seed, (name, fault) in enumerate(FAULTS.items(), 2):
            async with Load(line.ports["proxy"], seed, log=log) as load:
                await load.acknowledged_more(10)
                await network.set(fault)
                if fault.kind is Kind.REFUSE:
                    await load.unanswered_more(20)
                else:
                    await network.acted(8)
                await network.clear()
                await load.acknowledged_more(40)
                log = await load.stop()
            await network.delivered()
            verdict = await verdict_on(line, log, tally)
            assert verdict.is_clean, f"{name}: {verdict}"
