"""Hostile peers against a small honest swarm: what honest nodes deliver, lose and hold."""

import frames
import network_attacks as attacks
import pytest
from siege import Outcome

import peers

pytestmark = pytest.mark.attacks

#: MB that a victim may hold beyond what it held before, unless its test says otherwise.
ROOM = 40


@pytest.fixture(autouse=True)
def testpeer() -> None:
    if why := peers.missing("rust"):
        pytest.skip(why)


def unharmed(outcome: Outcome, *, let_in: int = 0, room: int = ROOM) -> None:
    """Nothing honest is lost, nothing more than `let_in` hostile records came in."""
    assert outcome.lost == 0, outcome
    assert outcome.let_in <= let_in, outcome
    assert outcome.grown < room, outcome


def test_header_flood_ends_at_the_quota() -> None:
    outcome = attacks.header_flood()
    unharmed(outcome, let_in=3 * 192)
    assert outcome.rejected == 0, "over one's quota is nobody's fault that passed it on"


def test_many_authors_end_at_the_cap() -> None:
    # One entry of a few kB for each of 16,384 authors.
    unharmed(attacks.many_authors(), let_in=16_384, room=150)


def test_replays_come_in_once() -> None:
    outcome = attacks.replay()
    unharmed(outcome, let_in=1)
    assert outcome.let_in == 1


def test_forgers_are_soon_not_heard() -> None:
    outcome = attacks.bad_signatures()
    unharmed(outcome)
    assert 5 <= outcome.rejected < 4000


def test_frames_at_the_limits() -> None:
    outcome = attacks.frame_limits()
    unharmed(outcome, let_in=1)
    assert outcome.let_in == 1, "the largest message allowed comes in"
    assert outcome.rejected >= 5


def test_decompression_bombs_stay_within_the_queue() -> None:
    outcome = attacks.decompression_bombs()
    # The queue of bodies holds 64 MiB; one more is being opened.
    unharmed(outcome, let_in=100, room=160)
    assert outcome.rejected == 3


def test_a_withheld_body_comes_from_another() -> None:
    unharmed(attacks.body_withholding(), let_in=2)


def test_wrong_bytes_cost_time_and_nothing_else() -> None:
    unharmed(attacks.wrong_bytes(), let_in=2)


def test_promises_and_requests_are_limited() -> None:
    outcome = attacks.ihave_iwant()
    unharmed(outcome)
    sent = int(outcome.note.split()[0]) * 1000
    # A 15 kB message is repeated three times for one peer, not 2,000 times. The rest is the
    # request for promised ids, at most 5,000 a heartbeat, and the honest traffic.
    assert sent < 1_000_000


def test_made_up_peers_lead_nowhere() -> None:
    unharmed(attacks.kad_poisoning())


def test_a_slow_reader_holds_up_nobody() -> None:
    unharmed(attacks.slow_reader())


def test_mute_connections_pass() -> None:
    unharmed(attacks.connection_flood())


def test_another_swarm_is_left() -> None:
    outcome = attacks.wrong_swarm()
    unharmed(outcome)
    assert 5 <= outcome.rejected <= 100


def test_a_wrong_clock_is_nobodys_fault() -> None:
    outcome = attacks.clock_off()
    unharmed(outcome, let_in=1)
    assert (outcome.rejected, outcome.ignored) == (0, 200)


def test_the_limits_are_those_of_the_core() -> None:
    """The attacks aim at exact sizes, so they must know them."""
    source = (peers.ROOT / "rust" / "proto" / "src" / "wire.rs").read_text()
    assert "MAX_INLINE: usize = 16 << 10" in source
    assert "1 + 2 + MAX_HEADER + MAX_INLINE" in source
    assert frames.MAX_GOSSIP == 18_435
