"""``turnout check`` and ``turnout explain``, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from proxy.cli import check, explain
from proxy.settings.default import default_text

app = typer.Typer()
check.register(app)
explain.register(app)
RUN = CliRunner()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_BACKEND", "DUAL_WRITE", "JSON_URL", "POSTGRES_URL", "MIRROR_AUTHORIZATION"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config" / "routing.yaml"
    file.parent.mkdir()
    file.write_text(default_text().replace("enabled: false", "enabled: true", 1))
    return Path("config/routing.yaml")


def test_check_says_right_and_exits_with_0(config: Path) -> None:
    found = RUN.invoke(app, ["check", str(config)])
    assert (found.exit_code, found.stdout) == (0, "config/routing.yaml: right\n")


def test_check_lists_every_fault_and_exits_with_1(config: Path) -> None:
    config.write_text(
        config.read_text().replace("weight: 10", "weight: 101").replace("primary: $", "primry: $")
    )
    found = RUN.invoke(app, ["check", str(config)])
    assert found.exit_code == 1
    assert found.stdout == ""
    lines = found.stderr.splitlines()
    assert [line.rpartition(": ")[0].split(":")[0] for line in lines] == ["config/routing.yaml"] * 3
    assert any("did you mean `primary`?" in line for line in lines)


def test_check_tells_faults_as_json(config: Path) -> None:
    config.write_text(config.read_text().replace("weight: 10", "weight: 101"))
    found = RUN.invoke(app, ["check", "--json", str(config)])
    told = json.loads(found.stdout)
    assert (found.exit_code, told["ok"], told["file"]) == (1, False, "config/routing.yaml")
    assert [sorted(fault) for fault in told["faults"]] == [["column", "line", "message"]]


def test_check_of_no_file_is_wrong_use(config: Path) -> None:
    assert RUN.invoke(app, ["check", "nowhere.yaml"]).exit_code == 2


def test_check_reads_env_local_beside_it(config: Path) -> None:
    Path(".env.local").write_text("DATA_BACKEND=mongo\n")
    found = RUN.invoke(app, ["check", str(config)])
    assert found.exit_code == 1
    assert "`mongo` (from DATA_BACKEND) is no upstream" in found.stderr


def line_of(config: Path, text: str) -> int:
    return next(number for number, line in enumerate(config.read_text().splitlines(), 1) if text in line)


def test_explain_prints_upstream_rule_and_its_line(config: Path) -> None:
    found = RUN.invoke(app, ["explain", "GET", "/api/orders/1", "-H", "X-Canary: canary=true"])
    assert found.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in found.stdout.splitlines())
    assert told["upstream"] == "postgres"
    assert told["rule"].startswith(
        f"config/routing.yaml:{line_of(config, 'canary=true' + chr(34) + '}')}: canary.always"
    )
    assert told["key"] == "/api/orders/1"


def test_explain_tells_chances_where_a_weight_decides(config: Path) -> None:
    found = RUN.invoke(app, ["explain", "post", "/api/orders", "--config", str(config)])
    assert "json (90 %) or postgres (10 %)" in found.stdout
    assert "write; executed by json, and mirrored" in found.stdout
    assert "none; under /api/orders" in found.stdout


def test_explain_answers_as_json(config: Path) -> None:
    found = RUN.invoke(app, ["explain", "PUT", "/api/settings", "--json", "-H", "x-canary: never"])
    told = json.loads(found.stdout)
    assert (told["upstream"], told["reason"], told["key"], told["kind"]) == (
        "json",
        "never",
        "/api/settings",
        "write",
    )
    assert told["line"] == line_of(config, "exact: never")


@pytest.mark.parametrize("wrong", [["GET", "api"], ["GET", "/api", "-H", "no header"], ["GET"]])
def test_explain_tells_wrong_use(config: Path, wrong: list[str]) -> None:
    assert RUN.invoke(app, ["explain", *wrong]).exit_code == 2


def test_explain_of_a_bad_file_tells_its_faults(config: Path) -> None:
    config.write_text("version: 1\n")
    found = RUN.invoke(app, ["explain", "GET", "/"])
    assert found.exit_code == 1
    assert "config/routing.yaml:1:1: `upstreams` is missing" in found.stderr
