"""A small internet of network namespaces: one public host, and homes behind routers with NAT."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

Nat = Literal["cone", "symmetric", "forwarded"]
"""What a router does with the source port of outgoing packets: keeps it, so that all destinations
see the same one (endpoint-independent mapping); draws a new one for each destination; or keeps it
and forwards the home's port as well."""

FLOOD = """
import asyncio, sys
async def hold(address, port):
    while True:
        try:
            reader, writer = await asyncio.open_connection(address, port)
            await reader.read()
            writer.close()
        except OSError:
            await asyncio.sleep(0.01)
async def main():
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    await asyncio.gather(*(hold(address, port) for _ in range(count)))
asyncio.run(main())
"""

Transport = Literal["tcp", "quic"]

RELAY = "5.5.1.2"
PORT = 4001
PATIENCE = 60.0

# Like a home router: whoever is inside may go out, and only answers come in. What comes unasked is
# dropped without a word, so that it leaves no trace in the connection table.
ROUTER = """
table ip home {{
    chain nat {{
        type nat hook postrouting priority srcnat;
        oifname "wan" {masquerade};
    }}
    chain through {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept;
        ct status dnat accept;
        iifname "lan" accept;
    }}
    chain inward {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept;
        iifname "lan" accept;
    }}
}}
"""

FORWARDING = """
table ip forwarding {{
    chain port {{
        type nat hook prerouting priority dstnat;
        iifname "wan" tcp dport {port} dnat to {address};
        iifname "wan" udp dport {port} dnat to {address};
    }}
}}
"""


def way(transport: Transport) -> str:
    """The middle of a multiaddress."""
    return f"tcp/{PORT}" if transport == "tcp" else f"udp/{PORT}/quic-v1"


def refusal() -> str:
    """Why namespaces can't be made here; empty if they can."""
    if os.geteuid() != 0:
        return "not root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"no `{tool}` (package iproute2 or nftables)"
    probe = f"rl{os.getpid() % 10_000}probe"
    try:
        run("ip", "netns", "add", probe)
        run("ip", "netns", "exec", probe, "nft", "list", "ruleset")
    except (subprocess.CalledProcessError, OSError) as error:
        return f"namespaces are not allowed ({error})"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return ""


def run(*command: str, text: str | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text).stdout


class Internet:
    """Namespaces joined by a backbone, at 5.5.N.2. Everything is gone after `close`."""

    def __init__(self) -> None:
        self._prefix = f"rl{os.getpid() % 10_000}"
        self._namespaces: list[str] = []
        self._hosts: list[Host] = []
        self._wan = self._namespace("wan")
        self._forwards(self._wan)
        self._count = 0

    def close(self) -> None:
        for host in self._hosts:
            host.stop()
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    def public(self) -> "Host":
        """A host that anyone can reach, at `RELAY`."""
        namespace = self._namespace("pub")
        return self._host(namespace, self._plug(namespace, 1))

    def home(self, nat: Nat) -> "Host":
        """A host behind a router of its own."""
        self._count += 1
        number = self._count
        router, inside = self._namespace(f"nat{number}"), self._namespace(f"home{number}")
        self._plug(router, 10 + number)
        address = f"10.0.{number}.2"
        run("ip", "link", "add", "lan", "netns", router, "type", "veth", "peer", "name", "eth",
            "netns", inside)  # fmt: skip
        self._up(router, "lan", f"10.0.{number}.1/24")
        self._up(inside, "eth", f"{address}/24")
        self._inside(inside, "ip", "route", "add", "default", "via", f"10.0.{number}.1")
        self._forwards(router)
        rules = ROUTER.format(
            masquerade="masquerade fully-random" if nat == "symmetric" else "masquerade"
        )
        if nat == "forwarded":
            rules += FORWARDING.format(address=address, port=PORT)
        run("ip", "netns", "exec", router, "nft", "-f", "-", text=rules)
        return self._host(inside, address)

    def neighbours(self) -> tuple["Host", "Host"]:
        """Two hosts on one wire, and nothing else."""
        names = self._namespace("left"), self._namespace("right")
        run("ip", "link", "add", "eth", "netns", names[0], "type", "veth", "peer", "name", "eth",
            "netns", names[1])  # fmt: skip
        hosts = []
        for number, namespace in enumerate(names, 1):
            self._up(namespace, "eth", f"192.168.7.{number}/24")
            self._inside(namespace, "ip", "route", "add", "default", "dev", "eth")
            hosts.append(self._host(namespace, f"192.168.7.{number}"))
        return hosts[0], hosts[1]

    def _host(self, namespace: str, address: str) -> "Host":
        self._inside(namespace, "ip", "link", "set", "lo", "up")
        self._hosts.append(Host(namespace, address, seed=len(self._hosts) + 1))
        return self._hosts[-1]

    def _namespace(self, name: str) -> str:
        full = self._prefix + name
        run("ip", "netns", "add", full)
        self._namespaces.append(full)
        return full

    def _plug(self, namespace: str, number: int) -> str:
        """Join the backbone with an interface called wan. Returns its address."""
        port, gateway, address = f"p{number}", f"5.5.{number}.1", f"5.5.{number}.2"
        run("ip", "link", "add", "wan", "netns", namespace, "type", "veth", "peer", "name", port,
            "netns", self._wan)  # fmt: skip
        self._up(self._wan, port, f"{gateway}/24")
        self._up(namespace, "wan", f"{address}/24")
        self._inside(namespace, "ip", "route", "add", "default", "via", gateway)
        return address

    def _forwards(self, namespace: str) -> None:
        self._inside(namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _up(self, namespace: str, interface: str, address: str) -> None:
        self._inside(namespace, "ip", "addr", "add", address, "dev", interface)
        self._inside(namespace, "ip", "link", "set", interface, "up")

    @staticmethod
    def _inside(namespace: str, *command: str) -> None:
        run("ip", "netns", "exec", namespace, *command)


class Host:
    """A namespace in which one peer may run."""

    def __init__(self, namespace: str, address: str, seed: int) -> None:
        self._namespace = namespace
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None
        self.address = address

    def start(self, transport: Transport, genesis_ms: int, **options: Any) -> "Host":
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, sys.executable,
             str(Path(__file__).with_name("peer.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        options = {"listen": [f"/ip4/0.0.0.0/{way(transport)}"], **options}
        self._write([self._seed, genesis_ms, options])
        self.peer_id: str = self.ask("name")
        return self

    def flood(self, address: str, port: int, connections: int) -> None:
        """Open TCP connections from here, say nothing, and open each anew when it is closed."""
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, sys.executable, "-c", FLOOD,
             address, str(port), str(connections)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, command: str, *arguments: Any) -> Any:
        self._write([command, *arguments])
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the peer in {self._namespace} is gone"
        return json.loads(line)

    def _write(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def internet() -> Iterator[Internet]:
    net = Internet()
    try:
        yield net
    finally:
        net.close()


def until(done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    give_up = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up, f"timed out: {what}"
        time.sleep(0.1)
