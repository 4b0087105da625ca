"""docker-compose.yml, the image and Prometheus' files, as far as they can be checked where no engine runs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from proxy.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("json-server", "postgres-server", "proxy")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]


def parse(words: list[str]) -> None:
    """As `turnout` would read its command line; click's error says what is wrong with it. Nothing is run."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("turnout", list(words), resilient_parsing=False)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def test_compose_has_the_database_both_servers_the_proxy_and_prometheus():
    assert set(SERVICES) == {"postgres", *OURS, "prometheus"}
    assert SERVICES["postgres"]["image"] == "postgres:18"


def test_every_service_has_a_health_check_and_comes_back_by_itself():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert {"interval", "timeout", "retries"} <= service["healthcheck"].keys(), name
        assert service["restart"] == "unless-stopped", name


def test_every_service_waits_until_what_it_needs_is_healthy():
    needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    assert needs["postgres-server"].keys() == {"postgres"}
    assert needs["proxy"].keys() == {"json-server", "postgres-server"}
    assert needs["prometheus"].keys() == {"proxy"}
    assert all(
        one == {"condition": "service_healthy"} for wanted in needs.values() for one in wanted.values()
    )


def test_only_the_proxy_is_published_beyond_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    beyond = [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")]
    assert beyond == ["3000:3000"]
    assert published["proxy"] == ["3000:3000", "127.0.0.1:3001:3001"]
    assert published["json-server"] == ["127.0.0.1:3002:3002"]
    assert published["postgres-server"] == ["127.0.0.1:3003:3003"]


@pytest.mark.parametrize("name", OURS)
def test_each_command_line_in_compose_is_one_that_turnout_takes(name: str):
    parse(SERVICES[name]["command"])


def test_a_command_line_that_turnout_does_not_take_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        parse([*SERVICES["proxy"]["command"], "--no-such-option"])


def test_the_image_s_own_command_is_one_that_turnout_takes():
    words = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert words is not None
    parse(yaml.safe_load(words[1]))
    assert 'ENTRYPOINT ["turnout"]' in DOCKERFILE


def test_the_commands_in_the_comments_of_compose_are_ones_that_turnout_takes():
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    lines = re.findall(r"^#\s+docker compose exec proxy turnout (.+)$", text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        parse(shlex.split(line))


def test_the_proxy_reaches_the_servers_by_their_names_and_ports():
    environment = SERVICES["proxy"]["environment"]
    for variable, name in (("JSON_URL", "json-server"), ("POSTGRES_URL", "postgres-server")):
        listen = SERVICES[name]["command"][SERVICES[name]["command"].index("--listen") + 1]
        assert environment[variable] == f"http://{name}:{listen.rpartition(':')[2]}"


def test_one_mirror_token_is_shared_and_no_secret_has_a_default():
    tokens = {SERVICES[name]["environment"]["TURNOUT_MIRROR_TOKEN"].partition(":?")[0] for name in OURS}
    assert tokens == {"${TURNOUT_MIRROR_TOKEN"}
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for secret in ("TURNOUT_MIRROR_TOKEN", "TURNOUT_ADMIN_TOKEN", "POSTGRES_PASSWORD"):
        uses = re.findall(r"\$\{" + secret + r"([^}]*)\}", text)
        assert uses, secret
        assert all(use.startswith(":?") for use in uses), secret


def test_every_variable_of_compose_is_in_the_example_of_env_local():
    example = set(
        re.findall(r"^#?([A-Z][A-Z_]*)=", (ROOT / "config/env.example").read_text("utf-8"), re.MULTILINE)
    )
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    assert used - example == set()


def test_named_volumes_are_declared_and_mounted_folders_exist():
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_the_image_runs_as_nobody_special_and_copies_only_what_exists():
    assert re.search(r"^USER turnout$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", DOCKERFILE, re.MULTILINE)
    first_stage, _, last_stage = DOCKERFILE.rpartition("\nFROM ")
    assert "HATCH_BUILD_HOOK_ENABLE_MYPYC=1" in first_stage, "the image holds the compiled proxy"
    assert "pip" not in last_stage
    assert "apt-get" not in last_stage
    allowed = {
        line[1:]
        for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line[:1] == "!"
    }
    for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = [word for word in words.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(one == source or one.startswith(f"{source}/") for one in allowed), (
                f"{source} is kept out by .dockerignore"
            )


def metric_labels() -> dict[str, set[str]]:
    from proxy import observe

    known = {name: set(labels) for name, _, labels in observe.TRAFFIC_METRICS}
    known |= {name: set(labels) for name, _, _, labels in observe.METRICS}
    return known


def test_every_alert_asks_for_metrics_that_the_proxy_has():
    known = metric_labels()
    for rule in RULES:
        names = re.findall(r"\bturnout_[a-z_]+", rule["expr"])
        assert names or 'up{job="turnout"}' in rule["expr"], rule["alert"]
        assert set(names) <= known.keys(), rule["alert"]
        for name, labels in re.findall(r"\b(turnout_[a-z_]+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)=", labels)) <= known[name], rule["alert"]


def test_every_alert_is_worth_waking_for_and_says_what_to_do():
    from tests.unit.repo.test_tidy import anchors

    runbook = ROOT / "docs/operating/runbook.md"
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert ROOT / file == runbook
        assert anchor == rule["alert"].lower()
        assert anchor in anchors(runbook), f"{rule['alert']} has no heading in the runbook"


def test_alerts_cover_what_can_go_wrong_with_a_move():
    names = " ".join(rule["expr"] for rule in RULES)
    for metric in (
        "turnout_mirror_lag_seconds",
        "turnout_dead_letters",
        "turnout_unproven",
        "turnout_upstream_up",
        "turnout_config_last_reload_successful",
        "turnout_journal_bytes",
        "turnout_journal_free_bytes",
        "turnout_mirror_in_doubt",
    ):
        assert metric in names


def test_prometheus_scrapes_services_of_compose_and_reads_the_rules():
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    targets = {t for job in config["scrape_configs"] for one in job["static_configs"] for t in one["targets"]}
    assert {target.split(":")[0] for target in targets} <= SERVICES.keys()
    assert "proxy:3001" in targets
    assert config["rule_files"] == ["/etc/prometheus/rules.yml"]
