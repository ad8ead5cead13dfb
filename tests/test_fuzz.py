"""Every decoder and the property that holds whatever it is fed: all seeds, and some hundred examples more.

``python -m tests.fuzz --seconds 60`` is the coverage-guided fuzzer of the same targets.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import agree
from tests.fuzz.shown import has_no_control, is_safe_html
from tests.fuzz.target import SEEDS, alike, ways
from tests.fuzz.targets import TARGETS, Target

EXAMPLES = 100


@pytest.fixture(autouse=True, scope="module")
def _node() -> Iterator[None]:
    """End the process that reads for the panel."""
    yield
    agree.end()


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Make inputs of a target's words, of random bytes and text, and of seeds with something put in."""
    words = st.sampled_from(target.words)
    text = st.text(max_size=12).map(lambda drawn: drawn.encode("utf-8", "replace"))
    piece = st.one_of(words, words, text, st.binary(max_size=6))
    made = st.lists(piece, max_size=20).map(b"".join)
    seeds = [path.read_bytes() for path in target.seeds()]

    def changed(seed: bytes) -> st.SearchStrategy[bytes]:
        place = st.integers(0, len(seed))
        return st.builds(_with, st.just(seed), place, st.integers(0, 40), made)

    return st.one_of(made, st.sampled_from(seeds).flatmap(changed))


def _with(seed: bytes, at: int, cut: int, piece: bytes) -> bytes:
    return seed[:at] + piece + seed[at + cut :]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_former_finds_hold(name: str) -> None:
    """Each committed input is taken as it should be, and so is none at all."""
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    for path in seeds:
        assert len(path.read_bytes()) <= 16_384, path
        target.check(path.read_bytes())
    target.check(b"")


@pytest.mark.parametrize("name", TARGETS)
def test_random_inputs_hold(name: str) -> None:
    """Inputs made of the words of each language are taken as they should be."""
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(data=inputs(target))
    def check(data: bytes) -> None:
        target.check(data)

    check()


def test_there_are_seeds_for_targets_alone_and_they_are_small() -> None:
    assert {path.name for path in SEEDS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in SEEDS.rglob("*") if path.is_file()) < 300_000


def test_cuts_are_always_the_same_and_lose_nothing() -> None:
    data = bytes(range(256))
    assert ways(data) == ways(data)
    assert all(b"".join(way) == data for way in ways(data))
    assert ways(b"") == [[b""], [b""], [b""] * 6]


def test_a_find_is_repeated_by_one_command(tmp_path: Path) -> None:
    """What a target does not take is told by an exception, and by an exit code that is not 0."""
    path = tmp_path / "dotenv" / "find"
    path.parent.mkdir()
    path.write_bytes(b"A=1\n")
    command = [sys.executable, "-m", "tests.fuzz", "--repeat", str(path)]
    root = Path(__file__).parents[1]
    assert subprocess.run(command, cwd=root, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "check",
    [
        lambda: alike([b"a", b"b"]),
        lambda: has_no_control("a\x1b[31m"),
        lambda: has_no_control("\u202e"),
        lambda: is_safe_html("<script>x</script>"),
        lambda: is_safe_html('<div class="a" onclick="x">'),
        lambda: is_safe_html("a < b"),
    ],
)
def test_the_checks_can_fail(check: Callable[[], None]) -> None:
    """What the targets look for is seen where it is."""
    with pytest.raises(AssertionError):
        check()
