"""``turnout demo``: the whole thing on the embedded default, in the foreground, with sample data backfilled and validated."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli import demo_folder, fields, tools
from proxy.cli.admin_client import AdminClient
from proxy.cli.children import Child, Family, StoppedError
from proxy.cli.demo_plan import PORT_BASE, PORT_BASE_MAX, Plan, next_lines
from proxy.cli.output import FAILED, complain, say
from proxy.errors import NotYetError, TurnoutError

BOTH_S_MAX = 20.0
"""Both upstreams are told their roles within a second or so of the proxy's start."""

BOTH_LOOK_S = 0.05


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="Where data, journal, database and logs are kept.")
    ] = Path(".turnout"),
    port_base: Annotated[
        int,
        typer.Option(
            "--port-base", min=1, max=PORT_BASE_MAX, help="Proxy here, admin +1, json +2, postgres +3."
        ),
    ] = PORT_BASE,
    empty: Annotated[bool, typer.Option("--empty", help="Start without the sample data.")] = False,
    tour: Annotated[bool, typer.Option("--tour", help="Not yet.", hidden=True)] = False,
) -> None:
    """Start both servers and the proxy with the sample data; Ctrl-C stops all of it. The next start finds its data again.

    Example: turnout demo --dir .turnout --port-base 3000
    """
    try:
        if tour:
            raise NotYetError("`--tour` is not yet built", "the demo prints what to type next")
        plan = Plan(folder, port_base)
        with demo_folder.locked(folder):
            demo_folder.check_ports(plan)
            asyncio.run(_run(plan, is_empty=empty))
    except TurnoutError as error:
        complain(error.message, error.hint)
        raise typer.Exit(FAILED) from error


async def _run(plan: Plan, *, is_empty: bool) -> None:
    from proxy.settings.default import environment

    began_s = time.monotonic()
    is_first = demo_folder.prepare(plan, is_empty=is_empty)
    token = demo_folder.token(plan.folder)
    env = environment(Path.cwd())
    child_env = plan.environment(env, token=token, parent=os.getpid(), is_first=is_first)
    family = Family()
    family.listen_to_signals()
    say(f"Turnout in {plan.folder}; Ctrl-C stops it")
    try:
        await _start(plan, family, child_env)
        admin = AdminClient(plan.url("admin"), token=env.get("TURNOUT_ADMIN_TOKEN", ""), actor="demo")
        await family.during(_prove(plan, admin, token))
        for line in _welcome(plan, time.monotonic() - began_s):
            say(line)
        await family.forever()
    except StoppedError:
        say("stopping …")
    finally:
        await family.end()
    say("stopped; the next start finds everything again")


async def _start(plan: Plan, family: Family, env: Mapping[str, str]) -> None:
    """Both servers at once, then the proxy."""
    for wave in (plan.servers(), (plan.proxy(),)):
        started = [await Child.start(one, env, plan.log(one.name)) for one in wave]
        family.children += started
        await family.during(_all_healthy(started))
        for child in started:
            say(f"  {child.plan.name:9} {plan.url(child.plan.name)}")


async def _all_healthy(children: list[Child]) -> None:
    await asyncio.gather(*(child.until_healthy() for child in children))


async def _prove(plan: Plan, admin: AdminClient, token: str) -> None:
    """Backfill where nobody ever proved the two equal, validate where something is unproven; else nothing."""
    status = await asyncio.to_thread(admin.get, "/api/v1/status")
    if not fields.flag(fields.mapping(status, "mirror"), "enabled"):
        say(
            "  mirror    off (DUAL_WRITE, or mirror.enabled in routing.yaml): nothing is backfilled or validated"
        )
        return
    status = await _both_ready(admin)
    if not fields.words(fields.mapping(status, "mirror"), "unproven"):
        return
    if status.get("validated") is None and fields.text(status, "primary") == "json":
        await _backfill(plan, token)
    await _validate(admin)


async def _both_ready(admin: AdminClient) -> dict[str, object]:
    """The status once writes are open and the secondary knows its role; the latest one where that takes too long."""
    deadline_s = time.monotonic() + BOTH_S_MAX
    while True:
        status = await asyncio.to_thread(admin.get, "/api/v1/status")
        mirror = fields.mapping(status, "mirror")
        trouble = fields.text(mirror, "writes_held") or fields.text(mirror, "secondary_trouble")
        if not trouble:
            return status
        if time.monotonic() >= deadline_s:
            raise demo_folder.DemoError(
                f"the servers did not take their roles within {BOTH_S_MAX:.0f} s: {trouble}",
                "look at the logs in the folder of the demo",
            )
        await asyncio.sleep(BOTH_LOOK_S)


async def _backfill(plan: Plan, token: str) -> None:
    from backends.migrate.backfill import backfill

    began_s = time.monotonic()
    with tools.failures_told():
        report = await backfill(plan.data, plan.url("json"), plan.url("postgres"), token=token)
    if not report.is_clean:
        raise demo_folder.DemoError(
            f"the backfill is not clean: {report.stopped or f'{report.rejected} records were rejected'}",
            f"mend {plan.data}, then start again",
        )
    say(f"  backfill  {report.records:,} records in {time.monotonic() - began_s:.1f} s")


async def _validate(admin: AdminClient) -> None:
    from proxy.cli.validate import run_one

    began_s = time.monotonic()
    run = await asyncio.to_thread(run_one, admin)
    compared = fields.number(fields.mapping(run, "report"), "compared")
    state = fields.text(run, "state")
    if state == "equal":
        say(f"  validate  equal: {compared:,.0f} records compared in {time.monotonic() - began_s:.1f} s")
        return
    complain(
        f"the two are not proved equal: {state} {fields.text(run, 'error')}".rstrip(),
        "the canary and the switch wait; run `turnout validate --verbose`",
    )


def _welcome(plan: Plan, took_s: float) -> list[str]:
    return [
        f"  page      {plan.url('admin')}/",
        "",
        f"ready in {took_s:.1f} s. Try in another terminal:",
        *(f"  {line}" for line in next_lines(plan, _command())),
    ]


def _command() -> str:
    """How this very command can be called again from here."""
    if shutil.which("turnout"):
        return "turnout"
    script = Path(sys.argv[0])
    if script.name != "turnout":
        return f"{sys.executable} -m proxy.cli"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)
