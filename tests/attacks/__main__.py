"""Attack a small honest swarm and print what came of it: ``python -m tests.attacks [NAME...]``."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from network_attacks import ATTACKS  # noqa: E402 # needs the path above


def main() -> None:
    wanted = sys.argv[1:]
    print("| attack | tried | honest records lost | let in | rejected | ignored | memory | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for attack in ATTACKS:
        if wanted and attack.__name__ not in wanted:
            continue
        one = attack()
        print(
            f"| {one.attack} | {one.tried} | {one.lost} of {one.lost + one.delivered} "
            f"| {one.let_in:,} | {one.rejected:,} | {one.ignored:,} | +{one.grown:.0f} MB "
            f"| {one.note} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
