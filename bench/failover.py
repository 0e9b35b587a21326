"""What a failover costs: the primary of a queue is killed while jobs come and are worked on.

Debian's Redis as Sentinel trio and as Cluster of 3 + 3, with TLS and the ACLs of deploy/redis, all
on this machine; a primary counts as gone after 2 s of silence. docs/deployment.md has the numbers.

    python -m bench.failover            # or --rounds 5
"""

import argparse
import asyncio
import importlib
import statistics
import sys
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parents[1] / "tests" / "support"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    sys.path.insert(0, str(SUPPORT))
    servers: Any = importlib.import_module("failover")
    load: Any = importlib.import_module("failover_load")
    print("| topology | acknowledged | lost | no write for | no work for | sent again |")
    print("|---|---|---|---|---|---|")
    for name, start in (("Sentinel", servers.sentinels), ("Cluster 3 + 3", servers.cluster_3_3)):
        outcomes = [_round(start, load) for _ in range(rounds)]
        acknowledged = sum(len(one.acknowledged) for one in outcomes)
        print(
            f"| {name} | {acknowledged} | {sum(one.lost for one in outcomes)}",
            _spread([one.write_gap_s for one in outcomes]),
            _spread([one.work_gap_s for one in outcomes]),
            f"{sum(one.refused for one in outcomes)} |",
            sep=" | ",
        )


def _round(start: Any, load: Any) -> Any:
    with start() as deployment:
        return asyncio.run(load.kill_under_load(deployment, before=2_000, after=2_000))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} s (at most {max(values):.1f} s)"


if __name__ == "__main__":
    main()
