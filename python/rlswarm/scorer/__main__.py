"""``python -m rlswarm.scorer``: a confined scorer on stdin and stdout."""

from rlswarm.scorer.confinement import confine, settle_environment


def main() -> None:
    settle_environment()
    confine()
    # Imported only now, under the settled hash seed and the limits.
    from rlswarm.pipes import ChildPipe
    from rlswarm.scorer.process import serve

    try:
        serve(ChildPipe.from_stdio())
    except BrokenPipeError:
        return


main()
