"""What this process uses of the machine."""

import resource
import sys
from pathlib import Path


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes.

    On Linux from VmHWM: ``ru_maxrss`` of a spawned process starts at its parent's figure.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
