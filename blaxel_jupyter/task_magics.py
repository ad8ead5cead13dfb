"""The magics for agent tasks: ``%task_logs``, ``%%task`` and ``%task``.

They read options, choose the service and start what a cell then shows; they hold no protocol and no
output.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display
from traitlets import Enum

from blaxel_jupyter import complete, credentials
from blaxel_jupyter.cell import Pressed, Show, awaited, waited
from blaxel_jupyter.errors import BlaxelError, CredentialsError
from blaxel_jupyter.options import called, display_mode, parsed, settled, variable_name
from blaxel_jupyter.panel import static
from blaxel_jupyter.table import Column, Table
from blaxel_jupyter.task import TaskStatus
from blaxel_jupyter.task_cell import TaskCell, TaskRunsCell, bundle, print_story
from blaxel_jupyter.task_client import TaskClient
from blaxel_jupyter.task_runs import TaskRun, TaskRuns

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NO_SERVICE = (
    "No task service is selected. Set BLACKBOX_API_KEY for BLACKBOX, or `%task use local` "
    "for this machine (no account, no isolation)."
)

LIST: tuple[Column, ...] = (
    Column("run_id", "string"),
    Column("status", "string"),
    Column("created", "timestamp"),
    Column("started", "timestamp"),
    Column("completed", "timestamp"),
    Column("model", "string"),
    Column("chat_id", "string"),
)


class Sandboxes(Protocol):
    """What the task magics ask the sandbox magics: where sandboxes run, and how runs are shown."""

    sandbox: str
    display: str


@magics_class
class TaskMagics(Magics):
    """Magics for agent tasks."""

    service = Enum(
        ["", "blackbox", "local"],
        default_value="",
        help="The task service; empty: BLACKBOX where its key is set, else local where sandboxes are.",
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell, sandboxes: Sandboxes) -> None:
        super().__init__(shell)
        self._sandboxes = sandboxes
        self._clients: dict[credentials.Blackbox | None, TaskClient] = {}

    @magic_arguments()
    @argument("run_id", nargs="+", help="one run, or several, whose tables stack")
    @argument("-f", "--follow", action="store_true", help="go on until the run ends")
    @argument(
        "--no-deltas",
        action="store_true",
        help="leave the text pieces out of the events; while a run is followed they are kept",
    )
    @argument("--raw", action="store_true", help="keep the raw event lines, too: .raw_events")
    @argument("-o", "--out", metavar="VAR", default="_task", help="variable for the run or runs")
    @argument("--plain", action="store_true", help="text instead of the panel")
    @argument("-q", "--quiet", action="store_true", help="show nothing; only set the variable")
    @line_magic
    def task_logs(self, line: str) -> None:
        """Show what an agent task has done so far, and with ``-f`` follow it until it ends.

        The run (its text, and tables of events and tool calls) is in ``_task``, or the variable of
        ``-o``, from the start. Several ids are read at once.
        """
        shown = self._logs(line)
        if shown is not None:
            shown.wait()

    @magic_arguments()
    @argument("action", nargs="?", default="", help=f"one of {', '.join(complete.TASK_ACTIONS)}")
    @argument("run_id", nargs="?", default="", help="a run; for use: local or blackbox")
    @argument("--status", help="list only runs that stand like this")
    @argument("--page", type=int, default=1, help="which page of the list")
    @argument("--limit", type=int, default=20, help="runs a page, at most 100")
    @argument("--model", metavar="M", help="%%%%task: the agent's model")
    @argument("--agent", metavar="A", help="%%%%task: the runtime, such as claude or codex")
    @argument("--repo", metavar="URL", help="%%%%task: a GitHub repository to work in")
    @argument("--branch", metavar="B", help="%%%%task: its branch")
    @argument("-o", "--out", metavar="VAR", default="_task", help="variable for the run")
    @argument("--bg", action="store_true", help="%%%%task: return at once; the panel goes on")
    @argument("--no-raise-error", action="store_true", help="a failed run is no error")
    @argument(
        "--on-interrupt",
        choices=["cancel", "detach"],
        default="cancel",
        help="what an interrupt of the cell does to the run; a second one leaves it to itself",
    )
    @argument("--plain", action="store_true", help="text instead of the panel")
    @argument("-q", "--quiet", action="store_true", help="show nothing; only set the variable")
    @argument(
        "--save",
        choices=["tail", "all", "none"],
        default="tail",
        help="how much of the story stays in the saved notebook; tail is 200 entries",
    )
    @line_cell_magic
    def task(self, line: str, cell: str | None = None) -> Any:
        """Start an agent task with the cell's body as its prompt, and show what it does.

        As a line: ``%task list``, ``%task status RUN_ID``, ``%task cancel RUN_ID``, and ``%task use local``
        or ``%task use blackbox`` to select the service. The run is in ``_task``, or the variable of ``-o``.
        """
        if cell is None:
            return self._line(line)
        waited(self._start(line, cell))
        return None

    async def awaited(self, magic: str, line: str, body: str | None = None) -> None:
        """Run one of the waiting magics in a cell that awaits; IPython's ``$var`` and ``{expr}`` count."""
        line = self.shell.var_expand(line, 1)
        if magic == "task":
            await awaited(partial(self._start, line, body or ""))
        else:
            await awaited(partial(self._logs, line))

    def close(self) -> None:
        """Close the clients' connections; runs that are still followed open new ones."""
        while self._clients:
            called(self._clients.popitem()[1].aclose)

    # %%task and %task_logs ------------------------------------------------------------------------------

    def _start(self, line: str, body: str) -> Callable[[Pressed], TaskCell | None] | None:
        """Read what a cell asks for; return what begins it, where interrupts are counted."""
        given = parsed(self.task, line)
        if given is None:
            return None
        if given.action:
            raise UsageError(
                f"%%task takes options only, not {given.action!r}; the body is the prompt."
            )
        if not body.strip():
            raise UsageError("The cell is empty: write the prompt below %%task.")
        variable = variable_name(given.out)
        client = self._client()

        async def create() -> TaskRun:
            return await client.create(
                body.strip("\n"),
                model=given.model,
                agent=given.agent,
                repo_url=given.repo,
                branch=given.branch,
            )

        show = Show(
            display=self._display(given),
            save=given.save,
            on_interrupt=given.on_interrupt,
            raise_error=not given.no_raise_error,
            variable=variable,
        )

        def begin(pressed: Pressed) -> TaskCell | None:
            # Not cancelled by the first interrupt: nobody would know the run's id, to cancel it.
            run: TaskRun = settled(create, pressed, cancelled=False)
            self.shell.push({variable: run})
            complete.remember_runs(run.run_id)
            cell = TaskCell(self.shell, run, show)
            if not given.bg:
                return cell
            cell.detach()
            return None

        return begin

    def _logs(self, line: str) -> TaskCell | TaskRunsCell | None:
        given = parsed(self.task_logs, line)
        if given is None:
            return None
        variable = variable_name(given.out)
        client = self._client()
        mode = self._display(given)
        options = {"include_deltas": not given.no_deltas, "raw": given.raw}
        if len(given.run_id) > 1:
            runs = TaskRuns(_checked(client.run, run_id) for run_id in given.run_id)
            self.shell.push({variable: runs})
            complete.remember_runs(*given.run_id)
            return TaskRunsCell(client, runs, mode, follow=given.follow, **options)
        run = _checked(client.run, given.run_id[0])
        self.shell.push({variable: run})
        try:
            called(_reading(client, run, options))
        except BlaxelError:
            if len(run.events):
                self._show(run, mode, variable)
            raise
        complete.remember_runs(run.run_id)
        if given.follow and not run.final:
            show = Show(display=mode, on_interrupt="detach", raise_error=False, variable=variable)
            return TaskCell(self.shell, run, show, work=_following(client, run, given))
        self._show(run, mode, variable)
        return None

    def _show(self, run: TaskRun, mode: str, variable: str) -> None:
        if mode == "panel":
            display(bundle(run), raw=True)
        elif mode == "plain":
            print_story(run, variable, in_kernel=hasattr(self.shell, "kernel"))

    def _display(self, given: Namespace) -> Any:
        return display_mode(given, self._sandboxes.display, self.shell)

    # %task ----------------------------------------------------------------------------------------------

    def _line(self, line: str) -> Table | None:
        given = parsed(self.task, line)
        if given is None:
            return None
        actions: dict[str, Callable[[Namespace], Table | None]] = {
            "": self._say_selected,
            "use": self._use,
            "list": self._list,
            "status": self._status,
            "cancel": self._cancel,
        }
        if given.action not in actions:
            raise UsageError(
                f"%task knows {', '.join(complete.TASK_ACTIONS)}, not {given.action!r}."
            )
        if given.action in {"use", "status", "cancel"} and not given.run_id:
            what = "local or blackbox" if given.action == "use" else "RUN_ID"
            raise UsageError(f"Say which: %task {given.action} {what}")
        return actions[given.action](given)

    def _say_selected(self, given: Namespace) -> None:
        try:
            print(f"Task service: {self._client().name}")
        except UsageError:
            print(NO_SERVICE)

    def _use(self, given: Namespace) -> None:
        if given.run_id not in {"local", "blackbox"}:
            raise UsageError(f"%task use takes local or blackbox, not {given.run_id!r}.")
        client = self._client_of(given.run_id)
        self.service = given.run_id
        note = " Agents run on this machine, as you, without isolation." if client.is_local else ""
        print(f"Task service: {client.name}.{note}")

    def _list(self, given: Namespace) -> Table:
        client = self._client()

        async def read() -> Any:
            return await client.list(given.page, given.limit, status=given.status)

        found = called(read)
        rows = Table(LIST)
        times = ("created", "started", "completed")
        rows.extend(
            len(found),
            **{name: [getattr(task, name) for task in found] for name in _LISTED},
            **{name: [_micros(getattr(task, name)) for task in found] for name in times},
        )
        complete.remember_runs(*(task.run_id for task in reversed(found)))
        return rows

    def _status(self, given: Namespace) -> None:
        _say(called(self._client().status, given.run_id), given.run_id)

    def _cancel(self, given: Namespace) -> None:
        _say(called(self._client().cancel, given.run_id), given.run_id)

    def _client(self) -> TaskClient:
        """Return the client of the selected service; none is ever guessed."""
        return self._client_of(self.service or self._by_surroundings())

    def _client_of(self, service: str) -> TaskClient:
        """Return the client of a service; of BLACKBOX, one for the key and the address as they are now."""
        key = credentials.blackbox() if service == "blackbox" else None
        if key not in self._clients:
            self._clients[key] = TaskClient("local" if key is None else None)
        return self._clients[key]

    def _by_surroundings(self) -> str:
        try:
            credentials.blackbox()
        except CredentialsError:
            if any(found.name == "BLACKBOX_API_KEY" for found in credentials.sources()):
                raise  # a key is there: what is wrong with it is to be mended, not passed by
            if self._sandboxes.sandbox.split("/")[0] == "local":
                return "local"
            raise UsageError(NO_SERVICE) from None
        return "blackbox"


_LISTED = ("run_id", "status", "model", "chat_id")


def _reading(client: TaskClient, run: TaskRun, options: dict[str, bool]) -> Callable[[], Any]:
    async def read() -> None:
        await client.read(run, **options)

    return read


def _following(client: TaskClient, run: TaskRun, given: Namespace) -> Callable[[], Any]:
    """Follow a run of which a log was read; the raw lines are read again when it has ended."""

    async def follow() -> None:
        if given.no_deltas:  # without them it cannot be told where live text goes on
            run.start_again()
            run.source = None
        await run.finish()
        if given.raw:
            again = client.run(run.run_id)
            await client.read(again, raw=True)
            run.raw_events = again.raw_events

    return follow


def _checked(function: Callable[[str], TaskRun], run_id: str) -> TaskRun:
    try:
        return function(run_id)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _say(status: TaskStatus, run_id: str) -> None:
    raw = f" ({status.status_raw})" if status.status_raw != status.status else ""
    error = f": {status.error}" if status.error else ""
    print(static.plain(f"Run {run_id}: {status.status}{raw}{error}"))


def _micros(when: Any) -> int | None:
    return None if when is None else round(when.timestamp() * 1_000_000)
