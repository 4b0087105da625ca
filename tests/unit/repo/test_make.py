"""The Makefile and .ci: every target is told, long runs that do not exist yet say so, and the environment is made once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROMISED = {
    "run", "test", "quick", "lint", "test-unit", "test-unit-adapter", "test-integration", "test-integration-api",
    "test-browser", "faults", "simulate", "soak", "bench", "docs", "clean", "help",
}  # fmt: skip


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *words], capture_output=True, text=True, check=False
    )


def test_help_lists_every_target_with_a_line():
    told = set(re.findall(r"^  make ([a-z-]+) +\S", make("help").stdout, re.MULTILINE))
    assert told >= PROMISED


def test_every_target_that_the_documents_name_exists():
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", MAKEFILE, re.MULTILINE))
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        named = set(
            re.findall(r"(?:`|^)make ((?:test-|venv-)?[a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
        )
        assert named <= targets, page.name


def test_a_suite_that_has_no_tests_says_so_and_fails():
    missing = next(
        name for name in ("soak", "simulate") if not list((ROOT / "tests" / name).glob("test_*.py"))
    )
    folder = {"simulate": "simulation"}.get(missing, missing)
    done = make(missing, f"PYTHON={sys.executable}", "-o", "venv-dev")
    assert done.returncode != 0
    assert f"make {missing}: not yet: tests/{folder} has no tests" in done.stderr


def test_an_interpreter_that_is_too_old_or_missing_is_told_plainly():
    done = make("venv-run", "PYTHON=/nonexistent/python3")
    assert done.returncode != 0
    assert "Turnout needs Python 3.11 or newer; /nonexistent/python3 is missing." in done.stderr


def test_ci_runs_what_a_developer_runs():
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^test:.*\blint\b", MAKEFILE, re.MULTILINE), "lint runs first"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that an environment is made from, in a folder of their own, with an environment that pretends to be made."""
    (tmp_path / ".ci").mkdir()
    for name in ("pyproject.toml", "constraints.txt", ".ci/venv.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def answer(checkout: Path, question: str) -> str:
    script = f"import importlib.util as u; s = u.spec_from_file_location('made', '.ci/venv.py'); made = u.module_from_spec(s); s.loader.exec_module(made); {question}"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_fresh_environment_is_left_alone_and_pip_is_not_called(checkout: Path):
    answer(checkout, "(made.FOLDER / 'made-for-dev').write_text(made.fingerprint())")
    done = subprocess.run(
        [sys.executable, ".ci/venv.py", "run"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), (
        "an environment with the tests' tools serves for `run` too"
    )


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_it_is_made_from_makes_the_environment_stale(checkout: Path, name: str):
    answer(checkout, "(made.FOLDER / 'made-for-run').write_text(made.fingerprint())")
    assert answer(checkout, "print(made.is_fresh('run', made.fingerprint()))") == "True"
    with (checkout / name).open("a") as file:
        file.write("\n# another line\n")
    assert answer(checkout, "print(made.is_fresh('run', made.fingerprint()))") == "False"


def test_an_environment_for_running_does_not_serve_for_tests(checkout: Path):
    answer(checkout, "(made.FOLDER / 'made-for-run').write_text(made.fingerprint())")
    assert answer(checkout, "print(made.is_fresh('dev', made.fingerprint()))") == "False"


def test_constraints_pin_everything_that_the_project_asks_for():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    asked = re.findall(r'^    "([A-Za-z0-9-]+)>=', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert len(asked) > 20
    assert {name.lower() for name in asked} - pinned == set()
    assert {"hatchling", "editables"} <= pinned
    assert "turnout" not in pinned
