"""The kernel bench: its systems agree, its rows survive a file, an absent peer is said to be so."""

from pathlib import Path

from rlswarm.bench import kernels
from rlswarm.bench.rows import Row, append, read

CASE = {"width": 576, "vocabulary": 49152, "rows": 512, "masked": 0.2}
CASE |= {"dtype": "float32", "trained": False, "threads": 1}


def first_run(system: str) -> dict[str, object]:
    process = kernels._Process({**CASE, "system": system})
    try:
        return process.start()
    finally:
        process.end()


def test_the_fused_loss_is_exact_and_takes_a_fraction_of_the_memory() -> None:
    ours, naive = first_run("rlswarm"), first_run("naive")
    for answer in (ours, naive):
        assert answer["errors"]["logprob"] < 5e-5 and answer["errors"]["gradient"] < 1e-5
    assert naive["peak_bytes"] > 30 * ours["peak_bytes"]  # 512 rows; more rows, more times


def test_rows_are_resumed_and_absent_systems_are_named(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    case = kernels.Case("SmolLM2-135M", 512, "float32", False, 1)
    rows = [
        Row("kernels", case.name, "rlswarm", "time", 1.0, 0.5, 2.0, "s", {}),
        Row("kernels", case.name, "rlswarm", "CPU time", 1.0, 0.5, 2.0, "s", {}),
        Row("kernels", case.name, "rlswarm", "peak extra memory", 8.0, 8.0, 8.0, "MiB", {}),
        Row("kernels", case.name, "trl", "time", None, None, None, "s", {}),
    ]
    append(file, rows)
    assert list(kernels.run([case], file)) == rows == read(file)
    text = kernels.table(rows)
    assert [line.split() for line in text.splitlines() if line.startswith("trl")] == [
        ["trl", "absent"]
    ]
