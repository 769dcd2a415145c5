"""Run every candidate in turn, round after round, and write the comparison to RESULTS.md."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.speed.payload import image_of_size

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["main"]

RESULTS: Final = Path(__file__).parents[1] / "RESULTS.md"
SERVER_CPU, CLIENT_CPU = 1, 0
"""One core each: whatever a client does in threads or processes, it does on one core."""
PACKAGES: Final = (
    "nanobatch", "google-genai", "httpx2", "aiohttp", "pybase64", "pillow", "litellm", "inspect-ai",
)  # fmt: skip
COLUMNS: Final = (
    "client", "images/s", "CPU ms/image", "peak RSS MB", "images/s : sdk", "CPU : sdk",
    "CPU : limit",
)  # fmt: skip
PEERS: Final = {"litellm": "litellm", "inspect-ai": "inspect-ai"}
CHILD_TIMEOUT_SECONDS: Final = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One table."""

    title: str
    candidates: tuple[str, ...]
    images: int
    concurrency: int
    size: str = "1mb"
    latency_ms: float = 0.0
    tls: bool = False
    gzip: bool = False
    is_free: bool = False
    """Whether clients may use every core: shows images/s, while two cores that share their parts
    make each other's CPU times longer."""
    rounds: int | None = None
    """As many as are asked for if `None`."""


@dataclass(slots=True)
class Measured:
    """What the rounds of one candidate took."""

    images_per_second: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    peak_rss_mb: list[float] = field(default_factory=list[float])
    fault: str = ""


ALL: Final = (
    "sdk", "sdk-aiohttp", "sdk-threads", "litellm", "inspect-ai", "limit", "nanobatch",
    "nanobatch-filters", "decode",
)  # fmt: skip
USUAL: Final = ("sdk", "sdk-aiohttp", "nanobatch")
SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(title="64 at once, no latency", candidates=ALL, images=1_024, concurrency=64),
    Scenario(
        title="64 at once, 100 ms latency",
        candidates=ALL,
        images=1_024,
        concurrency=64,
        latency_ms=100,
    ),
    Scenario(
        title="256 at once, 100 ms latency",
        candidates=("sdk", "sdk-uncapped", "limit", "nanobatch"),
        images=768,
        concurrency=256,
        latency_ms=100,
    ),
    Scenario(
        title="2.2 MB answers",
        candidates=(*USUAL, "limit"),
        images=128,
        concurrency=64,
        size="2mb",
    ),
    Scenario(
        title="Tiny answers: what the client itself costs",
        candidates=("sdk", "sdk-aiohttp", "nanobatch"),
        images=1_000,
        concurrency=64,
        size="tiny",
    ),
    Scenario(title="TLS", candidates=USUAL, images=128, concurrency=64, tls=True),
    Scenario(
        title="TLS, and gzip for those who ask for it",
        candidates=USUAL,
        images=128,
        concurrency=64,
        tls=True,
        gzip=True,
    ),
    Scenario(
        title="64 at once, no latency, on all cores",
        candidates=("sdk", "limit", "nanobatch"),
        images=1_024,
        concurrency=64,
        is_free=True,
    ),
    Scenario(
        title="64 at once, 100 ms latency, on all cores",
        candidates=("sdk", "limit", "nanobatch"),
        images=1_024,
        concurrency=64,
        latency_ms=100,
        is_free=True,
    ),
    Scenario(
        title="Memory after 1,000 images, 256 at once",
        candidates=("nanobatch",),
        images=1_000,
        concurrency=256,
        rounds=2,
    ),
    Scenario(
        title="Memory after 10,000 images, 256 at once",
        candidates=("nanobatch",),
        images=10_000,
        concurrency=256,
        rounds=2,
    ),
)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two tables, fewer images")
    parser.add_argument("--only", nargs="*", default=[], help="these candidates only")
    parser.add_argument("--tables", nargs="*", type=int, default=[], help="their numbers, from 1")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    chosen = SCENARIOS[:2] if options.quick else SCENARIOS
    if options.tables:
        chosen = tuple(SCENARIOS[number - 1] for number in options.tables)
    report = [*_heading(options.rounds)]
    with tempfile.TemporaryDirectory(prefix="nanobatch-bench-") as folder:
        certificate = _certificate(Path(folder))
        for scenario in chosen:
            images = scenario.images // 2 if options.quick else scenario.images
            names = [
                name
                for name in scenario.candidates
                if (not options.only or name in options.only) and _is_installed(name)
            ]
            measured = _measure(
                scenario,
                names,
                images=images,
                rounds=scenario.rounds or options.rounds,
                certificate=certificate,
            )
            table = _table(scenario, images, measured)
            report += table
            print("\n".join(table), flush=True)
    options.out.write_text("\n".join(report) + "\n", encoding="utf-8")
    print(f"Written: {options.out}")


def _measure(
    scenario: Scenario, names: list[str], *, images: int, rounds: int, certificate: Path
) -> dict[str, Measured]:
    """Run all candidates once, then all of them again: a slow minute hits every one."""
    measured = {name: Measured() for name in names}
    image = certificate.parent / f"{scenario.size}.png"
    if not image.exists():
        image.write_bytes(image_of_size(scenario.size))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    with _server(scenario, certificate, image) as port:
        for number in range(rounds):
            for name in names:
                found = measured[name]
                if found.fault:
                    continue
                out = Path(tempfile.mkdtemp(dir=certificate.parent))
                try:
                    took = _run_child(
                        name,
                        scenario,
                        images=images,
                        port=port,
                        certificate=certificate,
                        out=out,
                    )
                    if name != "decode":
                        _check(out / "measured", images, digest)
                except (subprocess.SubprocessError, ValueError, AssertionError) as error:
                    found.fault = _last_line(error)
                    print(f"{name}: {found.fault}", file=sys.stderr)
                    continue
                finally:
                    _empty(out)
                found.images_per_second.append(images / took["seconds"])
                found.cpu_ms.append(took["cpu_seconds"] * 1000 / images)
                found.peak_rss_mb.append(took["peak_rss_mb"])
                print(
                    f"{scenario.title}, round {number + 1}: {name} "
                    f"{found.images_per_second[-1]:.0f}/s {found.cpu_ms[-1]:.2f} ms",
                    flush=True,
                )
    return measured


@contextmanager
def _server(scenario: Scenario, certificate: Path, image: Path) -> Generator[int]:
    command = [
        sys.executable, "-m", "benchmarks.speed.server",
        "--image", str(image), "--latency-ms", str(scenario.latency_ms),
        *(["--gzip"] if scenario.gzip else []),
        *(["--certificate", str(certificate)] if scenario.tls else []),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(server.pid, {SERVER_CPU})
        try:
            assert server.stdout is not None  # noqa: S101 - it is a pipe
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _run_child(
    name: str, scenario: Scenario, *, images: int, port: int, certificate: Path, out: Path
) -> dict[str, float]:
    base_url = f"https://localhost:{port}" if scenario.tls else f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "benchmarks.speed.child", name, "--base-url", base_url,
        "--images", str(images), "--concurrency", str(scenario.concurrency), "--out", str(out),
        "--image", str(certificate.parent / f"{scenario.size}.png"),
        "--cpu", str(CLIENT_CPU if not scenario.is_free and (os.cpu_count() or 1) > 1 else -1),
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=CHILD_TIMEOUT_SECONDS,
        env={**os.environ, "SSL_CERT_FILE": str(certificate)},
    )
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return took


def _check(out: Path, images: int, digest: str) -> None:
    """Read every file: a client that loses or changes images is not compared."""
    folder = out / "images" if (out / "images").is_dir() else out
    files = [path for path in folder.iterdir() if path.suffix == ".png"]
    if len(files) != images:
        raise AssertionError(f"{len(files)} files instead of {images}")
    if any(hashlib.sha256(path.read_bytes()).hexdigest() != digest for path in files):
        raise AssertionError("a file is not the image that was sent")


def _empty(folder: Path) -> None:
    """Empty all files of a run but leave them there until everything is measured.

    ext4 looks at every inode that was freed seconds ago whenever it makes a file: 0.3 ms a file
    for whoever comes after a client whose files were removed.
    """
    for path in folder.rglob("*.png"):
        os.truncate(path, 0)


def _table(scenario: Scenario, images: int, measured: dict[str, Measured]) -> list[str]:
    base, limit = measured.get("sdk"), measured.get("limit")
    lines = [
        "",
        f"## {scenario.title}",
        "",
        f"{images} images a round.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for name, found in measured.items():
        if found.fault:
            lines.append(f"| {name} | not measured: {found.fault} | | | | | |")
            continue
        cells = [
            name,
            _spread(found.images_per_second, 0),
            _spread(found.cpu_ms, 2),
            _spread(found.peak_rss_mb, 0),
            _ratio(found.images_per_second, base.images_per_second if base else []),
            _ratio(found.cpu_ms, base.cpu_ms if base else []),
            _ratio(found.cpu_ms, limit.cpu_ms if limit else []),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines + _sentences(scenario, measured)


def _sentences(scenario: Scenario, measured: dict[str, Measured]) -> list[str]:
    """Say what the table does not: differences and sums, round by round."""
    own, sdk = (measured.get(name, Measured()).cpu_ms for name in ("nanobatch", "sdk"))
    filtered, decoding = (
        measured.get(name, Measured()).cpu_ms for name in ("nanobatch-filters", "decode")
    )
    lines: list[str] = []
    if scenario.size == "tiny" and own and sdk:
        added = [mine - other for mine, other in zip(own, sdk, strict=False)]
        lines += ["", f"A call costs {_spread(added, 2)} ms more with nanobatch than with sdk."]
    if own and filtered and decoding:
        parts = [mine + other for mine, other in zip(own, decoding, strict=False)]
        lines += ["", f"CPU of nanobatch-filters : nanobatch + decode = {_ratio(filtered, parts)}."]
    return lines


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _ratio(values: list[float], others: list[float]) -> str:
    """Return the median of the rounds' own ratios, with the least and the greatest."""
    if not others:
        return ""
    ratios = [mine / other for mine, other in zip(values, others, strict=False)]
    return _spread(ratios, 2)


def _heading(rounds: int) -> list[str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _installed(PACKAGES))
    return [
        "# How fast: measured side by side",
        "",
        "Written by `nox -s bench`; do not edit. Every round runs all clients of a table once, one",
        f"after the other, each in a process of its own: {rounds} rounds, medians, least and",
        "greatest in brackets; ratios are taken round by round. The server has one core and the",
        "client the other, threads and all, unless a table says that clients use all cores, the",
        "server's too. Every file is read and compared afterwards. `sdk` is",
        "`asyncio.gather` and a semaphore on google-genai with httpx2, which writes files and",
        "checks and syncs nothing; `limit` is sockets, base64, hash, write and fsync without any",
        "HTTP library, in one thread; `nanobatch` keeps a durable ledger, checks container and",
        "checksums and syncs every file; `nanobatch-filters` decodes the pixels too",
        "(`filters.default()`), and `decode` is that decoding alone.",
        "",
        f"Machine: {_machine()}. {datetime.now(UTC):%Y-%m-%d}.",
        f"Versions: Python {platform.python_version()}, {versions}.",
    ]


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in _lines(Path("/proc/cpuinfo"))
        if line.startswith("model name")
    ]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}, load before: {load}"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _installed(names: Iterable[str]) -> list[str]:
    known = {one.name.lower().replace("_", "-") for one in metadata.distributions()}
    return [name for name in names if name in known]


def _is_installed(candidate: str) -> bool:
    peer = PEERS.get(candidate)
    return peer is None or bool(_installed([peer]))


def _certificate(folder: Path) -> Path:
    """Write one file with key, certificate and authority: for the server, and to be trusted."""
    import trustme  # noqa: PLC0415 - only where TLS is measured

    authority = trustme.CA()
    path = folder / "localhost.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    authority.cert_pem.write_to_path(str(path), append=True)
    return path


def _last_line(error: Exception) -> str:
    text = str(getattr(error, "stderr", "") or error).strip()
    return text.splitlines()[-1][:160].replace("|", "/") if text else type(error).__name__


if __name__ == "__main__":
    main()
