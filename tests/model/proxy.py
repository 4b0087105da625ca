"""What can happen next: every step of the proxy, of the network and of the world around them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.protocol import (
    FOREIGN,
    STRAY,
    Bounds,
    Entry,
    Message,
    Rules,
    State,
    Work,
    arrives,
    commits,
    watermark,
)

Step = tuple[str, State]


def steps(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    """All that can happen in this state, each with a name and what comes of it."""
    yield from _client(state, rules, bounds)
    yield from _upstreams(state, rules, bounds)
    yield from _doubt(state, rules)
    yield from _lane(state, rules)
    yield from _switch(state, rules, bounds)
    yield from _backfill(state, rules)
    yield from _outside(state, rules, bounds)


def faults(state: State) -> str:
    """What is wrong with this state; empty: nothing."""
    if state.fault:
        return state.fault
    if (
        not state.entries
        and not state.is_dirty
        and state.backfill in ("", "done")
        and state.step != "announce"
    ):
        primary, secondary = state.ups[state.primary], state.ups[1 - state.primary]
        if primary.value != state.order[-1]:
            return f"the primary has {primary.value}, and {state.order[-1]} was its last state"
        if primary.pending is None and secondary.value != primary.value:
            return (
                f"nothing is unsettled, and the secondary has {secondary.value}, the primary {primary.value}"
            )
    return ""


def _send(state: State, message: Message) -> State:
    return state._replace(net=state.net | {message})


def _entry(state: State, changed: Entry | None, entry: Entry) -> State:
    entries = tuple(changed if one.id == entry.id else one for one in state.entries)
    return state._replace(entries=tuple(one for one in entries if one is not None))


# -- clients and the primary -------------------------------------------------------------------------------


def _client(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    is_held = state.step != "" and "fence" in rules
    if state.writes < len(bounds.writes) and not is_held:
        write = state.writes + 1
        begun = state._replace(writes=write, entries=(*state.entries, Entry(write, "intent")))
        yield f"write {write} is sent", _send(begun, Message("write", state.primary, state.epoch, id=write))
    for entry in state.entries:
        if entry.state == "intent":
            yield (
                f"write {entry.id} is given up: in doubt",
                _entry(state, entry._replace(state="doubt"), entry),
            )


def _upstreams(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    """Messages arrive; writes that have their number become durable, and are answered or not."""
    for message in sorted(state.net, key=repr):
        after, answer = arrives(state, message, rules, bounds)
        name = f"{message.kind} {message.id or ''} of epoch {message.epoch} reaches {message.to}: {answer}"
        if after != state:
            yield name, after
        if answer != "wait":
            for heard in _hear(after, message, answer, rules):
                yield f"{name}, and is heard", heard
    for up in (0, 1):
        pending = state.ups[up].pending
        if pending is None:
            continue
        write, _, number, base = pending
        after = commits(state, up)
        yield f"write {write} is durable at {up} as {number}", after
        for entry in after.entries:
            if entry.id == write and entry.state == "intent" and up == state.primary:
                known = entry._replace(
                    state="accepted", version=number, base=base, is_replayable=base is not None
                )
                yield (
                    f"write {write} is durable at {up} as {number}, and answered",
                    _entry(after, known, entry),
                )


def _hear(state: State, message: Message, answer: str, rules: Rules) -> Iterator[State]:
    """The proxy hears the answer, if it still waits for it."""
    match message.kind:
        case "write":
            for entry in state.entries:
                is_its_own = (
                    entry.id == message.id and entry.state == "intent" and message.epoch == state.epoch
                )
                if is_its_own and answer == "refused" and entry.id not in state.executed:
                    yield _entry(state, None, entry)
        case "replay" | "repair":
            if state.work is not None and state.work.message == message:
                yield _done(state, state.work, answer, rules)
        case "announce":
            is_awaited = state.step in ("announce", "renew") and message.epoch == state.burned
            if is_awaited and answer == "applied" and message.to not in state.heard:
                yield state._replace(heard=tuple(sorted((*state.heard, message.to))))
            if (
                answer == "applied"
                and not state.step
                and message.epoch == state.epoch
                and message.to != state.primary
            ):
                yield state._replace(told=True)
        case "line":
            if state.backfill == "sent" and message.at == state.s0 and message.epoch == state.epoch:
                yield _send(
                    state._replace(backfill="ending"), Message("floor", message.to, state.epoch, at=state.s0)
                )
        case _:
            if state.backfill == "ending" and message.at == state.s0 and message.epoch == state.epoch:
                yield state._replace(backfill="done")


def _doubt(state: State, rules: Rules) -> Iterator[Step]:
    """A write in doubt is voided; with the answer lost, only the primary knows."""
    for entry in state.entries:
        if entry.state != "doubt":
            continue
        if "void" not in rules:
            yield f"write {entry.id} is taken for one that never was", _entry(state, None, entry)
            continue
        up = state.ups[state.primary]
        if (up.epoch != state.epoch and "E3" in rules) or up.pending is not None:
            continue
        version = dict(up.decided).get(entry.id)
        if version:
            known = entry._replace(state="accepted", version=version, base=None, is_replayable=False)
            yield f"void {entry.id}: done as {version}", _entry(state, known, entry)
            continue
        if version is None and "V1" in rules:
            ups = list(state.ups)
            ups[state.primary] = up._replace(decided=(*up.decided, (entry.id, 0)))
            state = state._replace(ups=(ups[0], ups[1]))
            yield f"void {entry.id}: never, and the answer is lost", state
        yield f"void {entry.id}: never", _entry(state, None, entry)


# -- the lane ----------------------------------------------------------------------------------------------


def _lane(state: State, rules: Rules) -> Iterator[Step]:
    accepted = [entry for entry in state.entries if entry.state == "accepted"]
    work = state.work
    secondary = 1 - state.primary
    if work is None and accepted and state.told:
        head = min(accepted, key=lambda entry: entry.version or 0)
        if head.is_replayable:
            message = Message(
                "replay", secondary, state.epoch, id=head.id, version=head.version, base=head.base
            )
            replaying = _send(state, message)._replace(work=Work("replay", (head.id,), message))
            yield f"replay {head.id} is sent", replaying
        covers = tuple(entry.id for entry in accepted)
        if not head.is_replayable or len(accepted) > 1:
            yield f"a repair begins, for {covers}", state._replace(work=Work("read", covers))
    elif work is not None and work.kind == "read":
        up = state.ups[state.primary]
        if up.epoch == state.epoch or "E3" not in rules:
            at = max(up.at, watermark(up, rules)) if "R1" in rules else up.at
            message = Message("repair", secondary, state.epoch, value=up.value, version=up.version, at=at)
            yield (
                f"the repair reads {up.value} {up.version} at {at}",
                _send(state, message)._replace(work=Work("repair", work.covers, message)),
            )
        yield "the repair's read is given up", state._replace(work=None)
    elif work is not None:
        yield f"the {work.kind} is given up", _done(state, work, "given up", rules)


def _done(state: State, work: Work, answer: str, rules: Rules) -> State:
    """A command has ended."""
    state = state._replace(work=None)
    if answer == "applied":
        covers = work.covers
        if "repair-covers" not in rules and work.kind == "repair":
            covers = tuple(entry.id for entry in state.entries if entry.state == "accepted")
        state = state._replace(entries=tuple(entry for entry in state.entries if entry.id not in covers))
        return state._replace(
            is_dirty=False
        )  # what settles after a write from elsewhere leaves the key equal
    if work.kind == "replay":
        for entry in state.entries:
            if entry.id in work.covers:
                return _entry(state, entry._replace(is_replayable=False), entry)
    return state


# -- a change of primary, and starts -----------------------------------------------------------------------


def _switch(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    match state.step:
        case "":
            if state.switches < bounds.switches and state.backfill in ("", "done") and not state.is_dirty:
                yield (
                    "a switch begins: the fence is up",
                    state._replace(step="fence", switches=state.switches + 1),
                )
            if not state.told:
                yield (
                    "the secondary is told",
                    _announce(state, 1 - state.primary, state.epoch, is_primary=False),
                )
        case "fence":
            yield "the switch is called off at the fence", state._replace(step="")
            if (not state.entries and state.work is None) or "drain" not in rules:
                epoch = max(state.burned, state.epoch) + 1
                burning = state._replace(step="announce", heard=(), burned=epoch)
                for up in (0, 1):
                    burning = _announce(burning, up, epoch, is_primary=up != state.primary)
                yield f"epoch {epoch} is burned and announced", burning
        case "announce":
            if state.heard == (0, 1) or (state.heard and "E2-both" not in rules):
                yield (
                    f"the switch commits epoch {state.burned}",
                    state._replace(
                        step="", heard=(), primary=1 - state.primary, epoch=state.burned,
                        told=True, work=None,
                    ),
                )  # fmt: skip
            if "renew" in rules:
                yield "the switch is called off: renew", _renew(state)
            else:
                yield "the switch is called off", state._replace(step="", heard=(), burned=state.epoch)
        case _:
            if state.primary in state.heard:
                yield (
                    f"epoch {state.burned} is committed with the old primary",
                    state._replace(step="", heard=(), epoch=state.burned, told=False),
                )


def _renew(state: State) -> State:
    """The next epoch, with the primary that the journal names; writes go on once it is durable there."""
    state = state._replace(step="renew", heard=(), burned=state.burned + 1)
    return _announce(state, state.primary, state.burned, is_primary=True)


def _announce(state: State, to: int, epoch: int, *, is_primary: bool) -> State:
    return _send(state, Message("announce", to, epoch, is_primary=is_primary))


# -- backfill ----------------------------------------------------------------------------------------------


def _backfill(state: State, rules: Rules) -> Iterator[Step]:
    up, secondary = state.ups[state.primary], 1 - state.primary
    if state.step or not state.told:
        return
    if state.backfill == "wanted":
        yield (
            f"a backfill takes S0 = {watermark(up, rules)}",
            state._replace(backfill="reading", s0=watermark(up, rules)),
        )
    elif state.backfill == "reading":
        s0 = state.s0 if "S0" in rules else -1
        if up.value is None:
            ending = state._replace(backfill="ending")
            yield (
                "the backfill finds nothing",
                _send(ending, Message("floor", secondary, state.epoch, at=state.s0)),
            )
            return
        line = Message("line", secondary, state.epoch, value=up.value, version=up.version, at=s0)
        if "S0" in rules:
            yield f"the backfill reads {up.value}", _send(state._replace(backfill="sent"), line)
        else:
            # what is read now is given the number of a later moment
            yield (
                f"the backfill reads {up.value}",
                state._replace(backfill="read", net=state.net | {line._replace(kind="unsent")}),
            )
    elif state.backfill == "read":
        unsent = next(message for message in state.net if message.kind == "unsent")
        s0 = watermark(up, rules)
        sending = state._replace(backfill="sent", s0=s0, net=state.net - {unsent})
        yield f"S0 = {s0} is taken after the read", _send(sending, unsent._replace(kind="line", at=s0))


# -- the world around --------------------------------------------------------------------------------------


def _outside(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    if state.crashes < bounds.crashes:
        yield "the proxy is killed and starts again", _start(state, rules)
    if state.foreigns < bounds.foreigns and state.ups[1 - state.primary].pending is None and not state.step:
        yield "a write from elsewhere at the secondary", _foreign(state, rules)
    if state.strays < bounds.strays:
        stray = Message("write", state.primary, 0, id=STRAY)
        yield "another proxy sends a write", _send(state, stray)._replace(strays=state.strays + 1)
    if state.is_dirty and all(entry.id != FOREIGN for entry in state.entries):
        # A validation finds the difference: the key is repaired.
        yield (
            "a validation marks the key",
            state._replace(entries=(*state.entries, Entry(FOREIGN, "accepted", version=0))),
        )


def _start(state: State, rules: Rules) -> State:
    """What is in the journal is known; an intent without an outcome is in doubt, one with it is repaired."""
    entries = tuple(
        entry._replace(state="doubt") if entry.state == "intent" else entry._replace(is_replayable=False)
        for entry in state.entries
    )
    burned = state.burned if "burn" in rules else state.epoch
    state = state._replace(
        crashes=state.crashes + 1, entries=entries, work=None, step="", heard=(), burned=burned, told=False,
        backfill="wanted" if state.backfill not in ("", "done") else state.backfill,
    )  # fmt: skip
    return _renew(state) if state.burned > state.epoch else state


def _foreign(state: State, rules: Rules) -> State:
    name = 1 - state.primary
    up = state.ups[name]
    changed = up._replace(value=(FOREIGN,))
    if "W3" in rules:
        changed = changed._replace(version=None)
    if "W3-number" not in rules:
        changed = changed._replace(number=up.number + 1, at=up.number + 1)
    ups = (changed, state.ups[1]) if name == 0 else (state.ups[0], changed)
    return state._replace(ups=ups, foreigns=state.foreigns + 1, is_dirty=True)
