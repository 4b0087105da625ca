"""A process that only forwards: `python -m tests.support.forward_main PRIMARY_PORT SECONDARY_PORT [WEIGHT_BP] [STICKY]`.

Prints the port that it listens on; SIGTERM stops it. No journal and no mirror: what is measured is the hot path.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from proxy.forward.forwarder import Forwarder
from proxy.forward.no_mirror import NoMirror
from proxy.model import Canary, Match, MatchHow, MatchOn, Sticky, StickyBy
from proxy.routing.dice import EvenDice
from tests.support.forward_world import Holder, SystemClock, snapshot


async def main() -> None:
    primary, secondary = int(sys.argv[1]), int(sys.argv[2])
    canary = Canary(
        enabled=True,
        always=(Match(MatchOn.HEADER, "x-canary", MatchHow.EXACT, "canary=true"),),
        weight_bp=int(sys.argv[3]) if len(sys.argv) > 3 else 0,
        sticky=Sticky(StickyBy(sys.argv[4])) if len(sys.argv) > 4 else Sticky(),
    )
    holder = Holder(snapshot(primary, secondary, canary=canary))
    forwarder = Forwarder(snapshots=holder, mirror=NoMirror(), dice=EvenDice(), clock=SystemClock())
    port = await forwarder.start("127.0.0.1", int(os.environ.get("PORT", "0")))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(port, flush=True)
    await stop.wait()
    await forwarder.stop(5.0)


if __name__ == "__main__":
    uvloop.run(main())
