"""The words that are commands work from anywhere."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENV = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/nonexistent")}


def call(command: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, *args], cwd=cwd, env=ENV, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_run_is_the_tillgate_command_through_a_link_in_a_folder_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a shop").mkdir()
    link = tmp_path / "a shop/till gate"
    link.symlink_to(ROOT / "run")
    (tmp_path / "a shop/contracts.py").write_text("raise SystemExit('the namesake was imported')")
    said = call(link, "--help", cwd=tmp_path / "a shop")
    assert said.returncode == 0, said.stderr
    assert "Usage" in said.stdout


@pytest.mark.slow
def test_run_works_where_the_project_itself_lies_under_a_path_with_a_space(tmp_path: Path) -> None:
    home = tmp_path / "my till gate"
    home.mkdir()
    for name in ("run", "requirements", ".venv", "gateway", "contracts", "mappings", "adapters", "observability"):
        (home / name).symlink_to(ROOT / name)
    (home / "run").unlink()
    shutil.copy(ROOT / "run", home / "run")
    said = call(home / "run", "--help", cwd=tmp_path)
    assert said.returncode == 0, said.stderr


def test_installing_again_costs_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    said = call(ROOT / "requirements/install", "runtime", cwd=tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert time.monotonic() - began < 1


def install_with(tools: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs requirements/install in a copy, with the given scripts and a few basic commands as the whole PATH."""
    (folder / "bin").mkdir()
    for name in ("bash", "cmp", "cp", "dirname", "env", "flock", "grep", "id", "mkdir", "mktemp", "readlink", "rm", "tail"):
        if found := shutil.which(name):
            (folder / "bin" / name).symlink_to(found)
    for name, script in tools.items():
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    return subprocess.run(
        [folder / "requirements/install", "runtime"],
        env={"PATH": str(folder / "bin")}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_without_any_python_install_says_what_to_install(tmp_path: Path) -> None:
    said = install_with({}, tmp_path)
    assert said.returncode == 1
    assert "sudo apt-get install python3.11 python3.11-venv" in said.stderr


def test_without_the_venv_module_install_says_what_to_install_and_leaves_no_ruin(tmp_path: Path) -> None:
    broken = f"""#!/bin/sh\n[ "$2" = venv ] && {{ mkdir -p "$3/bin"; echo no ensurepip; exit 1; }}\nexec {sys.executable} "$@"\n"""
    said = install_with({"python3.11": broken}, tmp_path)
    assert said.returncode == 1
    assert "no ensurepip" in said.stderr
    assert f"sudo apt-get install python3.{sys.version_info[1]}-venv" in said.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_build_machine_calls_the_same_word() -> None:
    code = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert code == ['exec "$(dirname "$0")/../test" "$@"']
