"""``python -m rlswarm.scorer``: a confined scorer on stdin and stdout."""

import contextlib
import io

from rlswarm.scorer.confinement import confine, keep_what_imports_need, settle_environment


class _Silence(io.TextIOBase):
    """Swallows what environments print. Whether stderr is a full disk, a closed pipe or a file
    this process may not grow must not decide whether a scorer that prints raises."""

    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    settle_environment()
    keep_what_imports_need()
    confine()
    # Imported only now, under the settled hash seed and the limits.
    from rlswarm.pipes import ChildPipe
    from rlswarm.scorer.process import serve

    pipe = ChildPipe.from_stdio()
    silence = _Silence()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        try:
            serve(pipe)
        except BrokenPipeError:
            return


main()
