"""Every check of the project: `nox` runs the default ones, `nox -l` lists all of them."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "imports", "docs"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
HEAVY_MODULES = ("PIL", "google", "jinja2", "matplotlib", "numpy", "rich")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group; pip learnt `--group` only with 25.1."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def run_tests(session: nox.Session) -> None:
    """Run pytest on the installed package and report its coverage."""
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(tags=["run"])
def demo(session: nox.Session) -> None:
    """Run the demo against the simulator; arguments after `--` go to it."""
    session.install(".[all]")
    arguments = session.posargs or ["--out", str(Path(session.create_tmp()) / "demo")]
    session.run("python", "-m", "nanobatch", "demo", *arguments)


@nox.session(tags=["test"])
def tests(session: nox.Session) -> None:
    """Test the installed package; `--force-python 3.13` takes another interpreter."""
    session.install(".[all]", *group("test"))
    run_tests(session)


@nox.session(tags=["test"], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Test with the oldest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", ".[all]", *group("test"))
    run_tests(session)


@nox.session(tags=["long"])
def crash(session: nox.Session) -> None:
    """Kill a growing batch 200 times, and small runs, batch jobs too, at every step."""
    session.install(".[all]", *group("test"))
    long = {
        "NANOBATCH_CRASH_KILLS": "200",
        "NANOBATCH_CRASH_STRIDE": "1",
        "NANOBATCH_CRASH_BATCH": "all",
    }
    session.run("python", "-m", "pytest", "-s", "tests/crash", *session.posargs, env=long)


@nox.session(tags=["long"])
def disk(session: nox.Session) -> None:
    """Let every step to the disk fail; where strace is installed, also inside SQLite."""
    session.install(".[all]", *group("test"))
    long = {"NANOBATCH_FAULTS": "all"}
    session.run("python", "-m", "pytest", "tests/checkpoint", *session.posargs, env=long)


@nox.session(tags=["long"])
def laws(session: nox.Session) -> None:
    """Hold the laws of money and images over 2,000 histories of a checkpoint."""
    session.install(".[all]", *group("test"))
    long = {"NANOBATCH_LAW_EXAMPLES": "2000"}
    session.run("python", "-m", "pytest", "tests/laws", *session.posargs, env=long)


@nox.session(tags=["long"])
def fuzz(session: nox.Session) -> None:
    """Feed 100,000 broken answers, images, configs, job files and ledgers each."""
    session.install(".[all]", *group("test"))
    long = {"NANOBATCH_FUZZ_INPUTS": "100000"}
    session.run("python", "-m", "pytest", "tests/fuzz", *session.posargs, env=long)


@nox.session(tags=["long"])
def load(session: nox.Session) -> None:
    """Run a thousand jobs under faults in little memory, read 2 GiB of results, cancel slowly."""
    session.install(".[all]", *group("test"))
    tests = ("tests/load", "tests/pipeline/test_cancelling.py")
    long = {"NANOBATCH_LOAD_JOBS": "1000", "NANOBATCH_RESULTS_MIB": "2048"}
    session.run("python", "-m", "pytest", "-rP", *tests, *session.posargs, env=long)


@nox.session(tags=["long"])
def page(session: nox.Session) -> None:
    """Open the page of 2,000 images in Chromium: it must be there within two seconds."""
    session.install(".[all]", *group("test"))
    long = {"NANOBATCH_PAGE_PIXELS": "0.25", "NANOBATCH_PAGE_SECONDS": "2"}
    tests = ("tests/report/test_html_large.py", "tests/report/test_html_in_browser.py")
    session.run("python", "-m", "pytest", *tests, *session.posargs, env=long)


@nox.session(tags=["long"])
def planted(session: nox.Session) -> None:
    """Plant known bugs, one at a time: the tests must catch each of them."""
    session.install(".[all]", *group("test"))
    session.run("python", "-m", "tests.crash.planted", *session.posargs)


@nox.session(tags=["long"])
def economics(session: nox.Session) -> None:
    """Simulate routing, stopping, intervals and batch rounds; `-- --quick` takes minutes."""
    session.install(".")
    for module in ("coverage", "routing", "batch"):
        session.run("python", "-m", f"benchmarks.economics.{module}", *session.posargs)


@nox.session(tags=["long"])
def bench(session: nox.Session) -> None:
    """Measure nanobatch beside its peers; `-- --quick` takes minutes, not an hour."""
    session.install("-e", ".[all]", *group("bench"))
    session.run("python", "-m", "benchmarks.speed.bench", *session.posargs)


@nox.session(tags=["long"])
def filters(session: nox.Session) -> None:
    """Judge a labelled gallery and measure what each filter costs; `-- --pictures DIR` draws it."""
    session.install(".")
    session.install("--no-deps", *group("gallery"))  # its photographs only, it is never imported
    session.run("python", "-m", "benchmarks.filters.table", *session.posargs)


@nox.session(tags=["check"])
def lint(session: nox.Session) -> None:
    """Check rules and format with ruff; `nox -s lint -- --fix` repairs what it can."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]), ".")


@nox.session(tags=["check"])
def types(session: nox.Session) -> None:
    """Check types with mypy strict and pyright strict."""
    session.install("-e", ".[all]", *group("test"), *group("types"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session(tags=["check"])
def imports(session: nox.Session) -> None:
    """Check that the layers hold and that `import nanobatch` stays light."""
    session.install("-e", ".[all]", *group("imports"))
    session.run("lint-imports")
    session.run(
        "python",
        "-c",
        "import sys, nanobatch; "
        f"heavy = sorted(set({HEAVY_MODULES!r}) & set(sys.modules)); "
        "sys.exit(f'import nanobatch also imports: {heavy}' if heavy else 0)",
    )


@nox.session(tags=["check"])
def docs(session: nox.Session) -> None:
    """Build the documentation and run its notebook; every warning is an error."""
    session.install(".[all]", *group("docs"))
    session.run("python", "-m", "sphinx", "-E", "-W", "--keep-going", "docs", "docs/_build/html")
