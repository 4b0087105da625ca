"""What `pip install .` brings: every asset, and a command that works from any folder, not only beside the sources."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASSETS = {".sql", ".html", ".css", ".js", ".svg"}

LOOK = """
import proxy, backends, sys
from pathlib import Path
from proxy.cli.demo_folder import sample_data
from proxy.settings.default import default_text
assert Path(proxy.__file__).is_relative_to(sys.prefix), proxy.__file__
assert Path(backends.__file__).is_relative_to(sys.prefix), backends.__file__
assert default_text().startswith("# yaml-language-server"), "the shipped routing.yaml"
assert sample_data().stat().st_size > 1_000_000, "the sample data"
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder), cwd=ROOT)
    (built,) = folder.glob("turnout-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, and with what it needs lent by the tests' own environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path file inside a lent folder is not read, so the sources that are installed editable there stay out.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    )
    return folder / "bin"


def run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_holds_every_module_and_every_asset(wheel: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT))
        for room in ("proxy", "backends")
        for path in (ROOT / room).rglob("*")
        if path.suffix in ASSETS | {".py"}
    }
    assert sources - inside == set()
    assert {Path(name).suffix for name in sources} >= {".py", ".sql", ".html", ".css", ".js"}
    assert {"proxy/assets/routing.yaml", "backends/assets/data/data.json"} <= inside


def test_the_wheel_holds_nothing_but_the_two_packages(wheel: Path):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.startswith("turnout-")} == {"proxy", "backends"}


def test_an_installed_turnout_finds_its_assets_from_another_folder(installed: Path, tmp_path: Path):
    run(str(installed / "python"), "-W", "error", "-c", LOOK, cwd=tmp_path)


def test_an_installed_turnout_answers_from_another_folder(installed: Path, tmp_path: Path):
    turnout = str(installed / "turnout")
    assert "Moves the traffic" in run(turnout, "--help", cwd=tmp_path)
    assert run(turnout, "--version", cwd=tmp_path).startswith("turnout ")
    (tmp_path / "routing.yaml").write_bytes((ROOT / "config" / "routing.yaml").read_bytes())
    assert "right" in run(turnout, "check", "routing.yaml", cwd=tmp_path)
    assert "json" in run(turnout, "explain", "GET", "/api/orders/1", "--config", "routing.yaml", cwd=tmp_path)
