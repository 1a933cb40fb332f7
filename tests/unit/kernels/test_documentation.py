"""The example of the reference page runs as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "kernels.md"


def test_the_example_of_the_reference_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["hidden"].grad.abs().sum() > 0  # type: ignore[attr-defined]
