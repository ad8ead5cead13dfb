"""How much is pushed to a page that says how far it has got, or says nothing."""

from __future__ import annotations

from blaxel_jupyter.panel.pace import LAG, PATIENCE, WINDOW, Pace


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_page_that_was_never_heard_is_pushed_to_without_a_limit() -> None:
    """Nobody may be listening to it while a cell runs."""
    pace = Pace(Clock())
    for i in range(100):
        assert pace.open()
        pace.pushed(i + 1, WINDOW)


def test_a_window_and_no_more_is_under_way() -> None:
    """What the page has makes room, what was lost on the way does not hold it."""
    pace = Pace(Clock())
    pace.heard(0)
    pace.pushed(10, WINDOW // 2)
    assert pace.open()
    pace.pushed(20, WINDOW // 2)
    assert not pace.open()
    pace.heard(9)
    assert not pace.open()
    pace.heard(20)
    assert pace.open()
    pace.heard(5)  # a page that was loaded again
    assert pace.open()


def test_silence_is_worth_another_window() -> None:
    """A page that cannot be heard gets its rows, a page that is stuck no flood."""
    clock = Clock()
    pace = Pace(clock)
    pace.heard(0)
    pushed = 0
    for _ in range(100):
        clock.now += PATIENCE / 10
        while pace.open():
            pushed += WINDOW // 4
            pace.pushed(pushed, WINDOW // 4)
    assert 8 * WINDOW <= pushed <= 11 * WINDOW


def test_a_page_is_behind_when_it_lags_for_long() -> None:
    """A burst is waited for; what never ends is fetched by the page as it needs it."""
    clock = Clock()
    pace = Pace(clock)
    pace.heard(0)
    pace.pushed(10, WINDOW)
    assert not pace.open()
    clock.now += LAG / 2
    assert not pace.behind()
    pace.heard(10)
    assert pace.open()
    pace.pushed(20, WINDOW)
    assert not pace.open()
    clock.now += LAG
    assert pace.behind()
    pace.caught_up()
    assert not pace.behind()
