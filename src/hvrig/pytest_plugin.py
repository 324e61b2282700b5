"""The pytest plugin: `pytest -m hil --place P`.

Tests marked `hil` use one board for the whole session. The memory gate runs before the first of them, whatever was
selected and in whatever order; if it does not pass, none of them touches the board. During every test the watch
goes on, and a fault on the UART fails the test it came in.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.capture import CaptureManager
from rich.console import Console as RichConsole

from hvrig.cli_options import end_in_order
from hvrig.model.errors import HvrigError, UsageError
from hvrig.model.evidence import Outcome, Verdict
from hvrig.model.layout import LayoutReport
from hvrig.model.place import Place
from hvrig.model.progress import Event, Observer
from hvrig.model.protocols import CommandResult
from hvrig.model.run import DEFAULT_PLACE, DEFAULT_PLACES, EXIT_INTERRUPTED, RunOptions, split_images, split_ladder

if TYPE_CHECKING:
    from hvrig.pipeline import Run  # at run time when a board is needed: other sessions do not pay for labgrid

MARKER = "hil"
GATE_MARKER = "memory_gate"

_SESSION = pytest.StashKey["HilSession"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """hvrig's own options."""
    group = parser.getgroup("hvrig", "hvrig: the board and its memory gate")
    group.addoption("--place", help="The place to run on (default: HVRIG_PLACE, else virtual).")
    group.addoption("--places", help="The labgrid environment that describes the places (default: lab/places.yaml).")
    group.addoption("--ladder", help="memtester's sizes instead of the place's, such as 64M,128M.")
    group.addoption(
        "--image",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="A local file instead of the place's image NAME.",
    )
    group.addoption("--board-rs", type=Path, help="hvisor's board.rs of the build under test.")
    group.addoption("--artifacts", default="artifacts", help="Where the folder with the run's evidence is made.")
    group.addoption("--wait", type=float, default=0.0, help="Seconds to queue for a place that somebody else has.")
    group.addoption("--keep-on", action="store_true", help="Leave the board powered when the session is over.")
    group.addoption(
        "--stress-anyway", action="store_true", help="Run memtester even if the layout check has settled the matter."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the session's state."""
    config.addinivalue_line("markers", f"{MARKER}: needs the place's board; the memory gate runs first")
    config.addinivalue_line("markers", f"{GATE_MARKER}: the test that reports the memory gate itself")
    config.stash[_SESSION] = HilSession(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests without a board first, in their order; then the gate; then the tests that need its board."""

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker(MARKER) is None:
            return 0
        return 1 if item.get_closest_marker(GATE_MARKER) is not None else 2

    items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The gate runs before the first test that needs the board, and its verdict decides over all of them."""
    if item.get_closest_marker(MARKER) is None:
        return
    session = item.config.stash[_SESSION]
    session.ensure_gate()
    is_gate = item.get_closest_marker(GATE_MARKER) is not None
    if not is_gate and (reason := session.closed_because):
        pytest.skip(reason)
    session.begin_test(item.name, is_gate=is_gate)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A fault that came during a test fails it, whatever its assertions said."""
    report = yield
    if item.get_closest_marker(MARKER) is not None and call.when in {"call", "teardown"}:
        fault = item.config.stash[_SESSION].fault_in_test()
        if fault:
            report.outcome = "failed"
            said = f"\n\nThe test itself said:\n{report.longreprtext}" if report.longrepr else ""
            report.longrepr = fault + said
            if hasattr(report, "wasxfail"):  # an expected failure is no excuse for a board that died
                del report.wasxfail
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Board off, evidence complete; the exit status says what the verdict says (decision 8)."""
    hil = session.config.stash[_SESSION]
    verdict = hil.finish()
    if verdict is None:
        return
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        session.exitstatus = EXIT_INTERRUPTED
    elif verdict.exit_status != 0 and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        session.exitstatus = verdict.exit_status


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The verdict, last."""
    hil = config.stash[_SESSION]
    if hil.verdict is not None and hil.folder is not None:
        from hvrig.report.github_job import tell_job
        from hvrig.report.text import to_text

        terminalreporter.section("memory gate")
        terminalreporter.write_line(to_text(hil.verdict, hil.folder))
        for line in tell_job(hil.verdict, hil.folder, os.environ):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def board(pytestconfig: pytest.Config) -> Board:
    """The board, booted to root-linux and past the memory gate."""
    return Board(pytestconfig.stash[_SESSION])


@pytest.fixture(scope="session")
def gate_verdict(pytestconfig: pytest.Config) -> Verdict:
    """What the memory gate came to."""
    verdict = pytestconfig.stash[_SESSION].verdict
    assert verdict is not None, "gate_verdict is for tests marked hil"
    return verdict


class Board:
    """What a test may do with the board.

    `place` is the place's settings; `run` and `reboot` raise LabError or BoardError when the board does not answer.
    """

    def __init__(self, session: HilSession) -> None:
        self._session = session

    @property
    def place(self) -> Place:
        """The place's settings."""
        return self._session.run.place

    def run(self, command: str, seconds: float = 30.0) -> CommandResult:
        """A command in root-linux's shell: exit status, stdout and stderr as bytes."""
        return self._session.run.run_on_board(command, seconds)

    def layout(self) -> LayoutReport:
        """Check the memory layout of the board as it runs now; what the files say is in the gate's verdict."""
        return self._session.run.check_live_layout()

    def reboot(self) -> None:
        """Power-cycle the board and boot it again, through U-Boot and the hypervisor to SSH."""
        self._session.run.reboot()


class HilSession:
    """The board of one pytest session: opened by the first test that needs it, closed at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run: Run | None = None
        self._observer: Observer | None = None
        self._stack = ExitStack()
        self._test: str | None = None
        self._alarms_before = 0
        self.verdict: Verdict | None = None

    @property
    def run(self) -> Run:
        """The run; there is one from the gate on."""
        assert self._run is not None, "only tests marked hil have a board"
        return self._run

    @property
    def folder(self) -> Path | None:
        """Where the evidence lies, once there is some."""
        return self._run.folder if self._run is not None else None

    @property
    def closed_because(self) -> str | None:
        """Why no further test may touch the board, or None."""
        if self.verdict is not None and self.verdict.outcome is not Outcome.PASS:
            return f"not run, the memory gate did not pass: {self.verdict.summary}"
        if self._run is None or self._run.may_go_on:
            return None
        during = f" during {self._test}" if self._test else ""
        what = f"reported {self._run.describe_alarm()}" if self._run.alarms else "did not boot again"
        return f"not run, the board {what}{during}"

    def ensure_gate(self) -> None:
        """Boot the board and run the gate, once a session, with live progress on the terminal."""
        if self._run is not None:
            return
        from hvrig.pipeline import Run, prepare_place
        from hvrig.terminal import Terminal

        option = self._config.getoption
        ladder = option("--ladder")
        try:
            images = split_images(option("--image"))
        except UsageError as error:
            pytest.exit(str(error), returncode=2)
        options = RunOptions(
            places=Path(option("--places") or os.environ.get("HVRIG_PLACES") or self._config.rootpath / DEFAULT_PLACES),
            place=option("--place") or os.environ.get("HVRIG_PLACE") or DEFAULT_PLACE,
            artifacts=Path(option("--artifacts")),
            ladder=split_ladder(ladder),
            keep_on=option("--keep-on"),
            stress_anyway=option("--stress-anyway"),
            wait_s=option("--wait"),
            images=images,
            board_rs=option("--board-rs"),
        )
        capture = self._config.pluginmanager.getplugin("capturemanager")
        assert isinstance(capture, CaptureManager)
        try:
            run = Run(prepare_place(options), options, self._tell)
            self._stack.enter_context(run)
        except HvrigError as error:
            pytest.exit(str(error), returncode=2 if isinstance(error, UsageError) else 3)
        self._run = run
        end_in_order()
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if isinstance(reporter, pytest.TerminalReporter):
            reporter.ensure_newline()  # the live lines take over where the test's name stands
        with capture.global_and_fixture_disabled(), Terminal(RichConsole()) as self._observer:
            try:
                run.boot()
                if run.may_go_on:
                    run.gate()
            finally:
                run.catch_up()
                self._observer = None
        self.verdict = run.verdict()

    def _tell(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)

    def begin_test(self, name: str, *, is_gate: bool) -> None:
        """From here on a fault belongs to test `name`."""
        if self._test is None and not is_gate:
            self.run.begin_tests()
        self._test = None if is_gate else name
        self._alarms_before = self.run.alarms

    def fault_in_test(self) -> str | None:
        """What the watch saw since the test began, for its report, or None."""
        if self._test is None or self.run.alarms == self._alarms_before:
            return None
        self._alarms_before = self.run.alarms
        return f"The board reported a fault on its UART during this test: {self.run.describe_alarm()}."

    def finish(self) -> Verdict | None:
        """Board off, evidence written; the verdict over the gate and all that came after it."""
        if self._run is None:
            return None
        self._stack.close()
        self.verdict = self._run.verdict()
        return self.verdict
