"""What the wheel holds, and that it works away from the checkout. Runs with ``--run-wheel`` (it builds a wheel)."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("coregraft", "rewriter", "passes", "lowering", "custom_layers", "verification")


@pytest.fixture(scope="module")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not request.config.getoption("--run-wheel"):
        pytest.skip("builds a wheel: run with --run-wheel")
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_every_tracked_file_of_the_rooms(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--", *ROOMS], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    wanted = {
        path if path.startswith("coregraft/") else f"coregraft/{path}"
        for path in tracked
        if path.endswith((".py", ".j2", ".toml", "py.typed"))
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert wanted - held == set()
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
    python = venv / "bin" / "python"
    # The dependencies are those of the running environment; the package itself is the wheel's.
    site = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    env = {"PYTHONPATH": site, "PATH": ""}
    where = subprocess.run(
        [str(python), "-c", f"import sys; sys.path = [p for p in sys.path if p != {site!r}] + [{site!r}]\n"
         "import coregraft; print(coregraft.__file__)\n"
         "from coregraft.cli import main; main(['demo', '--output', 'out'])"],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert where.returncode == 0, where.stderr
    assert str(venv) in where.stdout.splitlines()[0]
    assert (tmp_path / "out" / "demo-supported.mlpackage" / "Manifest.json").exists()
