"""Peak memory of this process."""

import resource
import sys
from pathlib import Path


def peak_rss() -> int:
    """Bytes. From /proc where there is one: getrusage also counts the parent as it forked."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
