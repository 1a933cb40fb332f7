"""A py-libp2p peer that is driven by JSON lines: see tests/peers.py.

--sign none: unsigned messages named by topic and bytes, as rlswarm does. py-libp2p has no such
mode: its `publish`, which adds an author, is passed by, and so is its check that an author numbers
no two messages alike, which takes all messages without an author for one author's.
--sign strict: signed and named as a py-libp2p user gets it by default, for the bench. Only its
limit of ten messages a second is off in both modes, or there would be nothing to measure.
"""

import argparse
import base64
import json
import sys

import trio
from blake3 import blake3
from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.identity.identify import identify
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_peer_and_seqno_msg_id
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils import read_length_prefixed_protobuf
from multiaddr import Multiaddr


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def message_id(message: rpc_pb2.Message) -> bytes:
    topic = message.topicIDs[0].encode()
    return blake3(len(topic).to_bytes(8, "little") + topic + message.data).digest()[:20]


class Identified(INotifee):
    """Asks each new peer who it is."""

    def __init__(self, host, nursery) -> None:
        self.host = host
        self.nursery = nursery

    async def connected(self, network, connection) -> None:
        self.nursery.start_soon(self.ask, connection.muxed_conn.peer_id)

    async def ask(self, peer) -> None:
        stream = await self.host.new_stream(peer, [identify.ID])
        answer = identify.parse_identify_response(await read_length_prefixed_protobuf(stream, True))
        say("identified", peer=str(peer), agent=answer.agent_version)

    async def disconnected(self, network, connection) -> None: ...
    async def opened_stream(self, network, stream) -> None: ...
    async def closed_stream(self, network, stream) -> None: ...
    async def listen(self, network, multiaddr) -> None: ...
    async def listen_close(self, network, multiaddr) -> None: ...


class Unsigned(GossipSub):
    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        return True


class Counter:
    def __init__(self) -> None:
        self.count = 0


async def show(pubsub, subscription, topic: str, counter: Counter, quiet: bool) -> None:
    while True:
        message = await subscription.get()
        counter.count += 1
        if not quiet:
            name = pubsub.get_message_id(message).hex()
            data = base64.b64encode(message.data).decode()
            say("message", topic=topic, id=name, data=data)


async def send(pubsub, topic: str, data: bytes, strict: bool) -> None:
    if strict:
        await pubsub.publish(topic, data)
    else:
        message = rpc_pb2.Message(data=data, topicIDs=[topic])
        await pubsub.push_msg(pubsub.my_id, message)


async def obey(host, pubsub, counter: Counter, strict: bool) -> None:
    async for line in trio.wrap_file(sys.stdin):
        todo = json.loads(line)
        match todo["do"]:
            case "dial":
                await host.connect(info_from_p2p_addr(Multiaddr(todo["address"])))
            case "publish":
                await send(pubsub, todo["topic"], base64.b64decode(todo["data"]), strict)
            case "subscribers":
                peers = pubsub.peer_topics.get(todo["topic"], set())
                say("subscribers", count=len(peers))
            case "flood":
                for number in range(todo["count"]):
                    data = number.to_bytes(4, "little") + bytes(todo["size"] - 4)
                    await send(pubsub, todo["topic"], data, strict)
                say("flooded", count=todo["count"])
            case "count":
                say("count", count=counter.count)


async def run(topics: list[str], strict: bool, quiet: bool) -> None:
    host = new_host()
    # The only version that every other implementation offers too.
    router = (GossipSub if strict else Unsigned)(
        protocols=[PROTOCOL_ID_V11],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        spam_protection_enabled=False,
    )
    pubsub = Pubsub(
        host,
        router,
        strict_signing=strict,
        msg_id_constructor=get_peer_and_seqno_msg_id if strict else message_id,
    )
    counter = Counter()
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]), trio.open_nursery() as nursery:
        host.get_network().register_notifee(Identified(host, nursery))
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            for topic in topics:
                subscription = await pubsub.subscribe(topic)
                nursery.start_soon(show, pubsub, subscription, topic, counter, quiet)
            peer = str(host.get_id())
            addresses = [str(address) for address in host.get_addrs()]
            say("ready", peer=peer, addresses=addresses)
            await obey(host, pubsub, counter, strict)
            nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topic", action="append", required=True)
    parser.add_argument("--sign", choices=["none", "strict"], default="none")
    parser.add_argument("--version", help="the protocol version that identify tells")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    if options.version:
        # A node of a swarm names it there, and this library has no setting for it.
        identify.PROTOCOL_VERSION = options.version
    trio.run(run, options.topic, options.sign == "strict", options.quiet)


if __name__ == "__main__":
    main()
