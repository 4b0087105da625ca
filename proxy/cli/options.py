"""Options and arguments that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.arguments import seconds

AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON.")]
Reason = Annotated[str, typer.Argument(metavar="REASON", help="Why, in words; kept in the history.")]
Force = Annotated[bool, typer.Option("--force", help="Where this is allowed, go on all the same.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        parser=seconds,
        metavar="DURATION",
        help="How long the mirror may take to drain before it is called off, such as 30s.",
    ),
]
AcceptLoss = Annotated[
    int | None,
    typer.Option(
        "--accept-loss",
        metavar="N",
        min=0,
        help="The primary is dead: go on without the N that cannot be settled from the journal. N must match.",
    ),
]
WAIT_DEFAULT = "30s"
