"""Stop strings found token by token, as a reading of the whole text finds them."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rlswarm.policy.stops import StopStrings
from tiny_model import SPECIAL, make_tiny_model

CUT = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@CUT
@given(
    text=st.text(alphabet="ab é🙂\n", max_size=40),
    special=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 2)), max_size=4),
    stop=st.lists(st.text(alphabet="ab é🙂\n", min_size=1, max_size=4), max_size=3),
)
def test_it_stops_where_the_text_first_holds_a_stop_string(
    tmp_path: Path, text: str, special: list[tuple[int, int]], stop: list[str]
) -> None:
    folder = tmp_path / "model"
    if not folder.exists():
        make_tiny_model(folder)
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = list(tokenizer.encode(text).ids)
    for place, token in special:
        tokens.insert(place, token)
    stops = StopStrings(stop, tokenizer.decode, range(len(SPECIAL)))
    for count in range(1, len(tokens) + 1):
        whole = tokenizer.decode(tokens[:count])
        met = any(end in whole for end in stop)
        assert stops.met(tokens[:count]) == met
        if met:
            break
