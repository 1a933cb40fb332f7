"""``python -m rlswarm.policy.convert NAME``: have a model ready before anything waits for it."""

import argparse
import sys
import time

from rlswarm.errors import RlswarmError
from rlswarm.policy.gguf import convert
from rlswarm.policy.source import find


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rlswarm.policy.convert", description=__doc__)
    parser.add_argument("name", help="hub id, folder, .gguf file, or smollm2-135m-instruct")
    name = parser.parse_args().name
    start = time.monotonic()
    try:
        path = find(name)
        if path.is_file():
            path = convert(path, lambda text: print(text, file=sys.stderr, flush=True))
    except RlswarmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{name} is ready in {path} ({time.monotonic() - start:.1f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
