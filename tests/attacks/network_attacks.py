"""Attacks of hostile peers on the network layer. Each returns the observed outcome."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import frames
from siege import HONEST, Outcome, besieged

import peers
from rlswarm import _core

MIB = 1 << 20


def header_flood() -> Outcome:
    """Three authors of 3,000 valid records each, far over their quota of 192."""
    with besieged(quota=96 << 10) as siege:
        attackers = [siege.attacker(frames.MESHSUB) for _ in range(3)]
        before = siege.state()
        with siege.honest_traffic():
            for number, attacker in enumerate(attackers):
                stream = siege.open(attacker)
                for start in range(0, 3000, 20):
                    records = (
                        frames.seal(10 + number, sequence, b"flood")
                        for sequence in range(start, start + 20)
                    )
                    messages = [frames.announcement(record) for record in records]
                    siege.write(attacker, stream, frames.publish(*messages))
        return siege.outcome("header flood", "3 × 3,000 valid records, quota 192 each", before)


def many_authors() -> Outcome:
    """Every record by another author: quotas per author stop none of them."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        with siege.honest_traffic():
            stream = siege.open(attacker)
            for start in range(0, 20_000, 20):
                records = (frames.seal(1000 + n, 1, b"") for n in range(start, start + 20))
                messages = [frames.announcement(record) for record in records]
                siege.write(attacker, stream, frames.publish(*messages))
            peers.until(lambda: siege.state()["statistics"]["ignored"] > 3000, "the cap")
        return siege.outcome("flood by many authors", "20,000 records by 20,000 keys", before)


def replay() -> Outcome:
    """One record under all 256 names that a message can have, and its number used again."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        record = frames.seal(10, 1, b"once")
        other = frames.seal(10, 1, b"another with the same number")
        with siege.honest_traffic():
            stream = siege.open(attacker)
            again = [frames.announcement(record, attempt=n) for n in range(256)]
            for start in range(0, 256, 16):
                siege.write(attacker, stream, frames.publish(*again[start : start + 16]))
            siege.write(attacker, stream, frames.publish(frames.announcement(other)), times=50)
        return siege.outcome("replay", "1 record 256 times, its number once more", before)


def bad_signatures() -> Outcome:
    """The dearest thing to refuse: everything right but the signature."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        with siege.honest_traffic():
            stream = siege.open(attacker)
            for start in range(0, 4000, 20):
                forged = []
                for number in range(start, start + 20):
                    record = frames.seal(10, number, b"forged")
                    message = bytearray(frames.announcement(record))
                    message[-len(record.stored) - 1] ^= 1
                    forged.append(bytes(message))
                siege.write(attacker, stream, frames.publish(*forged))
        return siege.outcome("bad signatures", "4,000 records", before)


def frame_limits() -> Outcome:
    """Frames of the largest size, of one byte more, cut short, and of no sense at all."""
    with besieged() as siege:
        before = siege.state()
        persona = "p" * 64
        body = os.urandom(16_370)
        largest = frames.announcement(frames.seal(10, 1, body, persona=persona))
        with siege.honest_traffic():
            good = siege.attacker(frames.MESHSUB)
            siege.write(good, siege.open(good), frames.publish(largest))
            exact = frames.MAX_FRAME - len(frames.publish(b"")) - 6
            bad = [
                frames.publish(bytes(frames.MAX_GOSSIP + 1)),
                frames.publish(bytes(exact)),
                frames.framed(bytes(frames.MAX_FRAME)),
                frames.framed(bytes(frames.MAX_FRAME + 1)),
                frames.varint(1000) + b"cut short",
                b"\xff" * 10,
                frames.framed(b"\xff" * 100),
                frames.publish(b"", b"\0", b"\0\0\0", b"\0\xff\xff"),
                frames.publish(bytes(40), topic=frames.REVEALS),
                frames.publish(b"x", topic="/another/topic"),
            ]
            for data in bad:
                attacker = siege.attacker(frames.MESHSUB)
                stream = siege.open(attacker)
                siege.write(attacker, stream, data)
                attacker.tell("finish", stream=stream)
            requests = [b"", b"\x01", bytes([3]) * (1 + 32 * 64), bytes([3]) * (2 + 32 * 64)]
            for data in [*requests, os.urandom(100_000)]:
                attacker = siege.attacker()
                stream = siege.open(attacker, frames.PULL)
                siege.write(attacker, stream, data)
                attacker.tell("finish", stream=stream)
        tried = f"{len(bad)} frames and {len(requests) + 1} requests at and over the limits"
        return siege.outcome("oversize and truncated frames", tried, before)


def decompression_bombs() -> Outcome:
    """A hundred bodies of 16 MiB of zeros, 1.6 kB each; and three that lie about their size."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        with siege.honest_traffic():
            stream = siege.open(attacker)
            zeros = bytes(16 * MIB)
            bomb = frames.seal(10, 0, zeros).stored
            for number in range(100):
                message = siege.forge(attacker, 11 + number % 4, bomb, 16 * MIB)
                siege.write(attacker, stream, frames.publish(message))
            liar = siege.attacker(frames.MESHSUB)
            lies = [siege.forge(liar, 20, bomb, raw) for raw in (10, 16 * MIB - 1, 17 * MIB)]
            siege.write(liar, siege.open(liar), frames.publish(*lies))
        return siege.outcome("decompression bombs", "100 × 16 MiB of zeros, 3 lies", before)


def _answer(
    attacker: peers.Peer, answer: Callable[[], bytes] | None, done: threading.Event
) -> None:
    """Answer each pull of a body, or none."""
    seen = 0
    while not done.is_set():
        incoming = attacker.find("incoming", protocol=frames.PULL)
        for one in incoming[seen:]:
            if answer is not None:
                attacker.tell("write", stream=one["stream"], data=answer())
                attacker.tell("finish", stream=one["stream"])
        seen = len(incoming)
        time.sleep(0.01)


def _has(node: _core.Endpoint, record: _core.Record) -> bool:
    """Whether a node has a body, for which it asks as soon as it knows of the record."""
    with suppress(_core.NetworkError):
        node.fetch(record.header.hash, 20_000)
    name = record.header.hash
    events = [event for event in node.drain() if event.kind == "body"]
    return any(event.header is not None and event.header.hash == name for event in events)


def _pulls(attack: str, tried: str, hostile: int, answer: Callable[[], bytes] | None) -> Outcome:
    """Pull a body that an honest node and `hostile` others say they have, and one that only a
    hostile node has."""
    with besieged() as siege:
        done = threading.Event()
        attackers = [siege.attacker(frames.MESHSUB, frames.PULL) for _ in range(hostile)]
        threads = [threading.Thread(target=_answer, args=(one, answer, done)) for one in attackers]
        for thread in threads:
            thread.start()
        before = siege.state()
        body = os.urandom(600_000)
        record = frames.seal(3, 1, body, kind=frames.CHECKPOINT)
        theirs = frames.seal(10, 1, body, kind=frames.CHECKPOINT)
        try:
            with siege.honest_traffic():
                holder = siege.endpoint(3, siege.victim.address)
                siege.meet(holder)
                holder.announce(record)
                whose = frames.author(3)
                peers.until(lambda: whose in siege.state()["headers"], "the header")
                for attacker in attackers:
                    header = frames.announcement(record, attempt=1, inline=False)
                    siege.write(attacker, siege.open(attacker), frames.publish(header))
                header = frames.announcement(theirs, inline=False)
                siege.write(attackers[0], siege.open(attackers[0]), frames.publish(header))
                liar = frames.author(10)
                peers.until(lambda: liar in siege.state()["headers"], "their header")
                # The author leaves; one more honest node has the body, and the hostile say they do.
                other = siege.endpoint(4, siege.victim.address, holder.addresses()[0])
                siege.meet(other)
                peers.until(lambda: _has(other, record), "the other holder")
                holder.close()
                gone = holder.peer_id
                peers.until(lambda: gone not in siege.state()["peers"], "the author to leave")
                begun = time.monotonic()
                siege.victim.tell("fetch", record=record.header.hash.hex(), timeout_ms=30_000)
                siege.victim.tell("fetch", record=theirs.header.hash.hex(), timeout_ms=4000)
                peers.until(lambda: whose in siege.state()["bodies"], "the body")
                took = time.monotonic() - begun
                peers.until(lambda: bool(siege.state()["failed"]), "the failure")
            note = f"body had in {took:.1f} s; theirs given up"
            assert siege.state()["bodies"].get(liar, 0) == 0
            return siege.outcome(attack, tried, before, note)
        finally:
            done.set()
            for thread in threads:
                thread.join()


def body_withholding() -> Outcome:
    """Hostile nodes pass on headers and never answer for the bodies."""
    return _pulls("body withholding", "1 of 2 holders silent", 1, None)


def wrong_bytes() -> Outcome:
    """Hostile nodes answer every pull with bytes of their own."""
    chunk = frames.CHUNK + os.urandom(256 << 10)
    return _pulls("wrong bytes", "3 of 4 holders lie", 3, lambda: chunk)


def ihave_iwant() -> Outcome:
    """Promises of messages that don't exist, and one message asked for again and again."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        wanted = frames.seal(HONEST, 10_000, os.urandom(15_000))
        siege.honest.announce(wanted)
        with siege.honest_traffic():
            stream = siege.open(attacker)
            siege.write(attacker, stream, frames.subscribe(frames.RECORDS))
            for _ in range(200):
                ids = [os.urandom(20) for _ in range(500)]
                siege.write(attacker, stream, frames.ihave(*ids))
            sent = siege.state()["statistics"]["bytes_out"]
            asked = frames.message_id(frames.announcement(wanted))
            siege.write(attacker, stream, frames.iwant(asked), times=2000)
        grown = siege.state()["statistics"]["bytes_out"] - sent
        note = f"{grown / 1000:.0f} kB sent in answer"
        tried = "100,000 promises, 2,000 requests"
        return siege.outcome("IHAVE and IWANT", tried, before, note, more=1)


def kad_poisoning() -> Outcome:
    """Every look-up is answered with twenty peers that don't exist, and values are left behind."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB, frames.KAD)
        before = siege.state()
        done = threading.Event()

        def lie() -> None:
            seen = 0
            while not done.is_set():
                incoming = attacker.find("incoming", protocol=frames.KAD)
                for one in incoming[seen:]:
                    fakes = []
                    for _ in range(20):
                        name = b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)
                        port = (1 + os.urandom(1)[0]).to_bytes(2, "big")
                        fakes.append((name, b"\x04\x7f\x00\x00\x01\x06" + port))
                    siege.write(attacker, one["stream"], frames.kad_peers(*fakes))
                seen = len(incoming)
                time.sleep(0.01)

        liar = threading.Thread(target=lie)
        liar.start()
        try:
            with siege.honest_traffic():
                stream = siege.open(attacker, frames.KAD)
                for number in range(50):
                    value = frames.kad_store(number.to_bytes(4, "big"), os.urandom(4000))
                    siege.write(attacker, stream, value)
                begun = time.monotonic()
                # A node that knows only the victim still finds the other honest one.
                late = siege.endpoint(3, siege.victim.address)
                honest = siege.honest.peer_id
                peers.until(lambda: honest in late.peers(), "the honest to find each other")
                took = time.monotonic() - begun
        finally:
            done.set()
            liar.join()
        answered = len(attacker.find("incoming", protocol=frames.KAD))
        note = f"a new node found the others in {took:.1f} s"
        return siege.outcome("Kademlia poisoning", f"{answered} look-ups answered", before, note)


def slow_reader() -> Outcome:
    """A mesh peer that takes in nothing while 6 MB pass."""
    with besieged() as siege:
        before = siege.state()
        attacker = siege.attacker(frames.MESHSUB)
        stream = siege.open(attacker)
        siege.write(attacker, stream, frames.subscribe(frames.RECORDS) + frames.graft())
        with siege.honest_traffic():
            for sequence in range(400):
                siege.honest.announce(frames.seal(HONEST, 5000 + sequence, os.urandom(15_000)))
                time.sleep(0.005)
        return siege.outcome("slow reader", "reads nothing of 6 MB", before, more=400)


def connection_flood() -> Outcome:
    """Connections that say nothing, and peers that only connect."""
    with besieged() as siege, ExitStack() as stack:
        before = siege.state()
        _, _, host, _, port, *_ = siege.victim.address.split("/")
        with siege.honest_traffic():
            mute = 0
            for _ in range(100):
                try:
                    sock = socket.create_connection((host, int(port)), timeout=1)
                except OSError:
                    continue
                stack.callback(sock.close)
                mute += 1
            begun = time.monotonic()
            late = siege.endpoint(3, siege.victim.address)
            peers.until(lambda: siege.victim.peer_id in late.peers(), "a newcomer to get in", 40)
            took = time.monotonic() - begun
        note = f"a newcomer got in after {took:.0f} s"
        return siege.outcome("connection flood", f"{mute} mute connections", before, note)


def wrong_swarm() -> Outcome:
    """Records of another swarm from a peer that claims this one, and a peer of another."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        with siege.honest_traffic():
            stream = siege.open(attacker)
            for sequence in range(100):
                record = frames.seal(10, sequence, b"elsewhere", swarm=b"b" * 32)
                siege.write(attacker, stream, frames.publish(frames.announcement(record)))
            foreign = siege.attacker(frames.MESHSUB, version="/rlswarm/other/1")
            foreign.wait("left", peer=siege.victim.peer_id)
        assert foreign.peer_id not in siege.state()["peers"]
        return siege.outcome("wrong swarm", "100 records, 1 foreign peer", before)


def clock_off() -> Outcome:
    """A peer whose clock is an hour ahead, and one an hour behind: honest, and of no use."""
    with besieged() as siege:
        attacker = siege.attacker(frames.MESHSUB)
        before = siege.state()
        hour = 3_600_000
        with siege.honest_traffic():
            stream = siege.open(attacker)
            for sequence in range(100):
                for late in (-hour, hour):
                    number = 2 * sequence + (late > 0)
                    record = frames.seal(10, number, b"when", late_ms=late)
                    siege.write(attacker, stream, frames.publish(frames.announcement(record)))
        # Its clock is set right, and it is welcome: nobody was blamed.
        record = frames.seal(10, 1000, b"now")
        siege.write(attacker, stream, frames.publish(frames.announcement(record)))
        peers.until(lambda: frames.author(10) in siege.state()["bodies"], "the record in time")
        return siege.outcome("clock off by an hour", "200 records, then one in time", before)


ATTACKS: list[Callable[[], Outcome]] = [
    header_flood,
    many_authors,
    replay,
    bad_signatures,
    frame_limits,
    decompression_bombs,
    body_withholding,
    wrong_bytes,
    ihave_iwant,
    kad_poisoning,
    slow_reader,
    connection_flood,
    wrong_swarm,
    clock_off,
]
