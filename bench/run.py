"""Our engine and BullMQ side by side on one Redis, as the table of ratios.

    python -m bench.run [--server valkey|redis] [--rounds 3] [--quick] [--json FILE]

Both sides of a figure run within the same minute, their order turned round every round; what is
printed is the median of each side and the median of the rounds' ratios. Machines drift, ratios
drift less.
"""

import argparse
import json
import shutil
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path

from bench.server import flush, serving, version
from bench.table import Round, Step, floor_line, table

HERE = Path(__file__).parent
ROOT = HERE.parent
BULLMQ = HERE / "bullmq"
RUN_S = 240
"""No single measurement takes longer, or it hangs."""

STEPS = (
    Step("cycle", ("--jobs", "20000", "--concurrency", "100"), "cycle-100"),
    Step("cycle", ("--jobs", "20000", "--concurrency", "5"), "cycle-5"),
    Step("add-one", ("--jobs", "5000"), "add-one"),
    Step("latency", ("--jobs", "300", "--concurrency", "5"), "latency"),
    Step("delayed", ("--jobs", "5000", "--concurrency", "100"), "delayed"),
)
QUICK = (
    Step("cycle", ("--jobs", "4000", "--concurrency", "100"), "cycle-100"),
    Step("cycle", ("--jobs", "4000", "--concurrency", "5"), "cycle-5"),
    Step("add-one", ("--jobs", "1000"), "add-one"),
    Step("latency", ("--jobs", "100", "--concurrency", "5"), "latency"),
    Step("delayed", ("--jobs", "2000", "--concurrency", "100"), "delayed"),
)
RECOVER_FAST = Step("recover", ("--jobs", "100", "--lease-ms", "5000"), "recover-5s")
RECOVER = Step("recover", ("--jobs", "100"), "recover")
"""Once a run each: they take as long as a lease, whatever the machine does."""


def commands(step: Step, socket: Path) -> dict[str, list[str]]:
    """The command lines of both sides for one step."""
    words = [step.figure, "--socket", str(socket), *step.words]
    return {
        "bullmq": ["node", str(BULLMQ / "bench.js"), *words],
        "ours": [sys.executable, "-m", "bench.ours", *words],
    }


def answer(command: list[str]) -> dict[str, float]:
    """Run one measurement; its JSON line. Exits with what it said when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def both(step: Step, socket: Path, *, ours_first: bool) -> dict[str, dict[str, float]]:
    """Measure both sides of a step, one right after the other, each on an empty Redis."""
    measured = {}
    for side, command in sorted(commands(step, socket).items(), reverse=ours_first):
        flush(socket)
        measured[side] = answer(command)
        print(f"  {step.name:<11} {side:<7} {short(measured[side])}", file=sys.stderr, flush=True)
    return measured


def short(measured: dict[str, float]) -> str:
    """What was measured, in one line."""
    return "  ".join(f"{name} {value:,.4g}" for name, value in measured.items())


def rounds(socket: Path, steps: list[Step], count: int) -> list[Round]:
    """Every round of the run; the recoveries belong to the first."""
    done: list[Round] = []
    for number in range(count):
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
        now = steps if number == 0 else [step for step in steps if step.figure != "recover"]
        ours_first = number % 2 == 1
        done.append({step.name: both(step, socket, ours_first=ours_first) for step in now})
    return done


def npm_ci(folder: Path) -> None:
    """Install the other side when it is not there; exits with a clear word without Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        sys.exit("BullMQ's side needs Node 20 or newer with npm on PATH (Debian: nodejs npm)")
    if not (folder / "node_modules").is_dir():
        command = ["npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit"]
        subprocess.run([*command, "--no-fund"], check=True, stdout=sys.stderr)


def versions(socket: Path) -> str:
    """Whom this run compared, on what."""
    packages = {
        name: json.loads((BULLMQ / "node_modules" / name / "package.json").read_text())["version"]
        for name in ("bullmq", "ioredis")
    }
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    python = ".".join(str(part) for part in sys.version_info[:3])
    theirs = f"BullMQ {packages['bullmq']}, ioredis {packages['ioredis']}, Node {node.stdout[1:]}"
    ours = f"Python {python}, redis-py {installed('redis')}, uvloop {installed('uvloop')}"
    return f"server: {version(socket)}, AOF off\nBullMQ: {theirs}ours:   {ours}"


def report(socket: Path, steps: list[Step], done: list[Round], floor: dict[str, float]) -> None:
    """Print versions, commands, the table and the floor."""
    print(versions(socket), "", sep="\n")
    print("commands (`ours`: the same words after `python -m bench.ours`):")
    for step in steps:
        print(f"  node bench/bullmq/bench.js {step.figure} --socket SOCKET {' '.join(step.words)}")
    print("  python -m bench.floor --socket SOCKET", "", sep="\n")
    print(table(done), "", floor_line(floor), sep="\n")


def main() -> None:
    """Run the benchmark named by the command line."""
    parser = argparse.ArgumentParser(description="Our engine and BullMQ side by side.")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--json", type=Path, help="also write everything measured here")
    wanted = parser.parse_args()
    steps = [*QUICK, RECOVER_FAST] if wanted.quick else [*STEPS, RECOVER_FAST, RECOVER]
    npm_ci(BULLMQ)
    with serving(wanted.server) as socket:
        floor = answer([sys.executable, "-m", "bench.floor", "--socket", str(socket)])
        done = rounds(socket, steps, wanted.rounds or (1 if wanted.quick else 3))
        report(socket, steps, done, floor)
    if wanted.json:
        wanted.json.write_text(json.dumps({"rounds": done, "floor": floor}, indent=1) + "\n")


if __name__ == "__main__":
    main()
