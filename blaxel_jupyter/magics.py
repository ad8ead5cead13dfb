"""The magics: ``%sandbox``, ``%%sandbox_exec`` and ``%sandbox_logs``.

They read options, choose the sandbox and start what a cell then shows; they hold no protocol and no
output. A cell of a kernel is rewritten to await, so that the kernel serves comm messages meanwhile.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display
from traitlets import Enum, Unicode

from blaxel_jupyter import complete
from blaxel_jupyter.cell import Pressed, Show, awaited, waited
from blaxel_jupyter.client import SandboxClient, made_up_name
from blaxel_jupyter.frontend import Awaiter
from blaxel_jupyter.options import called, display_mode, parsed, settled, variable_name
from blaxel_jupyter.panel import static
from blaxel_jupyter.process import Stream
from blaxel_jupyter.runs import SandboxRun
from blaxel_jupyter.sandbox_cell import SandboxCell, bundle, print_rows
from blaxel_jupyter.script import command_for, end_start, environment, expand, remove_script
from blaxel_jupyter.table import Column, Table
from blaxel_jupyter.target import ControlPlane, control_plane
from blaxel_jupyter.task_magics import TaskMagics
from blaxel_jupyter.transport import Http
from blaxel_jupyter.wording import bare

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NO_SANDBOX = (
    "No sandbox is selected. `%sandbox use NAME` selects one of yours, "
    "`%sandbox use local` this machine (no account, no isolation)."
)


@magics_class
class BlaxelMagics(Magics):
    """Magics for Blaxel sandboxes."""

    sandbox = Unicode(help="The sandbox that magics use when none is named.").tag(config=True)
    display = Enum(
        ["auto", "panel", "plain"],
        default_value="auto",
        help="How runs are shown: panel (widget), plain (text), or by what the front end can do.",
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._clients: dict[str, SandboxClient] = {}

    @magic_arguments()
    @argument("action", nargs="?", default="", help=f"one of {', '.join(complete.ACTIONS)}")
    @argument("name", nargs="?", default="", help="a sandbox, or for stop and kill a process")
    @argument("--image", help="container image of a new sandbox")
    @argument("--memory", type=int, metavar="MB", help="memory of a new sandbox")
    @argument("--region", help="region of a new sandbox")
    @line_magic("sandbox")
    def sandbox_magic(self, line: str) -> Table | None:
        """Select a sandbox, list, create or delete sandboxes; list, stop or kill processes.

        ``%sandbox use NAME`` selects one of your Blaxel sandboxes, ``%sandbox use http://…`` any server
        with the sandbox API, ``%sandbox use local`` the embedded local service. Bare ``%sandbox`` says
        what is selected.
        """
        given = parsed(self.sandbox_magic, line)
        if given is None:
            return None
        actions: dict[str, Callable[[Namespace], Table | None]] = {
            "": self._say_selected,
            "use": self._use,
            "list": self._list,
            "create": self._create,
            "delete": self._delete,
            "ps": self._ps,
            "stop": self._signal,
            "kill": self._signal,
        }
        if given.action not in actions:
            raise UsageError(f"%sandbox knows {', '.join(complete.ACTIONS)}, not {given.action!r}.")
        if given.action in {"use", "create", "delete", "stop", "kill"} and not given.name:
            what = "PROCESS" if given.action in {"stop", "kill"} else "NAME"
            raise UsageError(f"Say which: %sandbox {given.action} {what}")
        return actions[given.action](given)

    @magic_arguments()
    @argument("-s", "--sandbox", metavar="NAME", help="where to run; the selected one by default")
    @argument("-n", "--name", metavar="PROCESS", help="how to find the process again")
    @argument("-o", "--out", metavar="VAR", default="_sandbox", help="variable for the run")
    @argument("--lang", default="sh", help="sh, python, node, or any interpreter in the sandbox")
    @argument("--cwd", metavar="DIR", help="folder to start in")
    @argument(
        "-e",
        "--env",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="pass a variable; KEY alone takes the value of this environment",
    )
    @argument("--timeout", type=float, metavar="S", help="kill the process after S seconds")
    @argument("--bg", action="store_true", help="return at once; the panel goes on")
    @argument("--no-raise-error", action="store_true", help="a non-zero exit is no error")
    @argument(
        "--expand", action="store_true", help="replace {expr} by the notebook's value, quoted"
    )
    @argument("--keep-alive", action="store_true", help="no standby while the process runs")
    @argument("--restart-on-failure", type=int, metavar="N", default=0, help="start again, N times")
    @argument(
        "--wait-for-port",
        type=int,
        metavar="P",
        action="append",
        default=[],
        help="wait until something listens on the port",
    )
    @argument(
        "--on-interrupt",
        choices=["stop", "detach", "kill"],
        default="stop",
        help="what an interrupt of the cell does to the process; a second one kills",
    )
    @argument("--plain", action="store_true", help="text instead of the panel")
    @argument("-q", "--quiet", action="store_true", help="show nothing; only set the variable")
    @argument(
        "--save",
        choices=["tail", "all", "none"],
        default="tail",
        help="how much of the output stays in the saved notebook; tail is 200 lines",
    )
    @cell_magic
    def sandbox_exec(self, line: str, cell: str) -> None:
        """Run the cell's body in a sandbox and show its output while it runs.

        The body is taken literally. The run (status, exact stdout and stderr, a table of the lines) is
        in ``_sandbox``, or the variable of ``-o``, from the start.
        """
        waited(self._exec(line, cell))

    @magic_arguments()
    @argument("process", help="name or pid")
    @argument("-s", "--sandbox", metavar="NAME", help="where it runs; the selected one by default")
    @argument("--stdout", dest="stream", action="store_const", const="stdout", help="only stdout")
    @argument("--stderr", dest="stream", action="store_const", const="stderr", help="only stderr")
    @argument("--all", dest="stream", action="store_const", const="all", help="both (the default)")
    @argument("-f", "--follow", action="store_true", help="go on until the process ends")
    @argument("--tail", type=int, metavar="N", help="only the last N lines of what is there")
    @argument("-o", "--out", metavar="VAR", default="_sandbox", help="variable for the run")
    @argument("--plain", action="store_true", help="text instead of the panel")
    @argument("-q", "--quiet", action="store_true", help="show nothing; only set the variable")
    @line_magic
    def sandbox_logs(self, line: str) -> None:
        """Show what a process wrote so far, and with ``-f`` follow it until it ends."""
        shown = self._logs(line)
        if shown is not None:
            shown.wait()

    async def awaited(self, magic: str, line: str, body: str | None = None) -> None:
        """Run one of the waiting magics in a cell that awaits; IPython's ``$var`` and ``{expr}`` count."""
        line = self.shell.var_expand(line, 1)
        if magic == "sandbox_exec":
            await awaited(partial(self._exec, line, body or ""))
        else:
            await awaited(partial(self._logs, line))

    def close(self) -> None:
        """Close the clients' connections; runs that are still followed open new ones."""
        while self._clients:
            called(self._clients.popitem()[1].aclose)

    # %%sandbox_exec and %sandbox_logs -------------------------------------------------------------------

    def _exec(self, line: str, body: str) -> Callable[[Pressed], SandboxCell | None] | None:
        """Read what a cell asks for; return what begins it, where interrupts are counted."""
        given = parsed(self.sandbox_exec, line)
        if given is None:
            return None
        if not body.strip():
            raise UsageError("The cell is empty: write the command below %%sandbox_exec.")
        client = self._client(given.sandbox)
        variable = variable_name(given.out)
        if given.expand:
            body = expand(body, given.lang, self.shell.user_ns)
        options: dict[str, Any] = {
            "name": given.name or made_up_name(),
            "cwd": given.cwd,
            "env": environment(given.env),
            "timeout": given.timeout,
            "keep_alive": given.keep_alive,
            "restart_on_failure": given.restart_on_failure,
            "wait_for_ports": given.wait_for_port,
        }

        async def start() -> tuple[SandboxRun, str | None]:
            command, script = await command_for(client, given.lang, body)
            try:
                return await client.exec(command, **options), script
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and given.on_interrupt != "detach":
                    await end_start(
                        client, options["name"], command, kill=given.on_interrupt == "kill"
                    )
                await remove_script(client, script)
                raise

        show = Show(
            display=self._display(given),
            save=given.save,
            on_interrupt=given.on_interrupt,
            raise_error=not given.no_raise_error,
            variable=variable,
        )

        def begin(pressed: Pressed) -> SandboxCell | None:
            run, script = settled(start, pressed)
            self.shell.push({variable: run})
            complete.remember(given.sandbox or self.sandbox, run.name)

            async def work() -> None:
                await run.finish()
                await remove_script(client, script)

            cell = SandboxCell(self.shell, run, show, work=work)
            if not given.bg:
                return cell
            cell.detach()
            return None

        return begin

    def _logs(self, line: str) -> SandboxCell | None:
        given = parsed(self.sandbox_logs, line)
        if given is None:
            return None
        client = self._client(given.sandbox)
        variable = variable_name(given.out)
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        if given.stream in streams:
            streams = (given.stream,)

        async def attach() -> SandboxRun:
            run = await client.attach(given.process, streams=streams)
            if given.tail is not None or not given.follow:
                await client.read_so_far(run, tail=given.tail)
            if run.process.ended:
                await run.finish()
            return run

        run = called(attach)
        self.shell.push({variable: run})
        show = Show(display=self._display(given), on_interrupt="detach", raise_error=False)
        if given.follow and not run.final:
            return SandboxCell(self.shell, run, show)
        if show.display == "panel":
            display(bundle(run), raw=True)
        elif show.display == "plain":
            print_rows(run, 0, len(run.logs))
        return None

    def _display(self, given: Namespace) -> Any:
        return display_mode(given, self.display, self.shell)

    # %sandbox -------------------------------------------------------------------------------------------

    def _say_selected(self, given: Namespace) -> None:
        _say(f"Selected: {bare(self.sandbox)}" if self.sandbox else NO_SANDBOX)

    def _use(self, given: Namespace) -> None:
        client = self._client(given.name)
        url = called(client.url)
        self.sandbox = given.name
        note = ""
        if client.is_local:
            note = " Commands run on this machine, as you, without isolation."
        _say(f"Selected: {client.name}{'' if client.is_local else f' at {bare(url)}'}.{note}")

    def _list(self, given: Namespace) -> Table:
        local = self.sandbox.split("/")[0] == "local"

        async def read(plane: ControlPlane) -> list[Any]:
            return list(await plane.list())

        found = self._control(read, local=local)
        rows = Table(
            [Column(n, "int64" if n == "memory" else "string") for n in complete.SANDBOX_COLUMNS]
        )
        rows.extend(
            len(found),
            **{n: [getattr(sandbox, n) for sandbox in found] for n in complete.SANDBOX_COLUMNS},
        )
        complete.remember_sandboxes(*(sandbox.name for sandbox in found))
        return rows

    def _create(self, given: Namespace) -> None:
        local, name = _place(given.name)

        async def create(plane: ControlPlane) -> str:
            made = await plane.create(
                name, image=given.image, memory=given.memory, region=given.region
            )
            return made.status

        status = self._control(create, local=local)
        _say(f"Sandbox {given.name}: {status.lower()}. Select it: %sandbox use {given.name}")

    def _delete(self, given: Namespace) -> None:
        local, name = _place(given.name)

        async def delete(plane: ControlPlane) -> None:
            await plane.delete(name)

        self._control(delete, local=local)
        client = self._clients.pop(given.name, None)
        if client is not None:
            called(client.aclose)
        if self.sandbox == given.name:
            self.sandbox = ""
        _say(f"Sandbox {given.name}: deleted.")

    def _ps(self, given: Namespace) -> Table:
        client = self._client(None)
        found = called(client.processes)
        rows = Table(
            [
                Column(n, "int64" if n == "exit_code" else "string")
                for n in complete.PROCESS_COLUMNS
            ],
            masks=called(client.masks),
        )
        rows.extend(
            len(found),
            **{n: [getattr(process, n) for process in found] for n in complete.PROCESS_COLUMNS},
        )
        complete.remember(self.sandbox, *(process.name for process in found))
        return rows

    def _signal(self, given: Namespace) -> None:
        client = self._client(None)
        if given.action == "stop":
            called(client.stop, given.name)
            _say(f"Stop sent to {given.name}; if it does not end: %sandbox kill {given.name}")
        else:
            called(client.kill, given.name)
            _say(f"Killed {given.name}.")

    def _control(self, ask: Callable[[ControlPlane], Awaitable[Any]], *, local: bool) -> Any:
        async def asked() -> Any:
            http = Http()
            try:
                return await ask(await control_plane(http, local=local))
            finally:
                await http.aclose()

        return called(asked)

    # Options --------------------------------------------------------------------------------------------

    def _client(self, name: str | None) -> SandboxClient:
        name = name or self.sandbox
        if not name:
            raise UsageError(NO_SANDBOX)
        if name not in self._clients:
            is_url = "://" in name
            self._clients[name] = SandboxClient(url=name) if is_url else SandboxClient(name)
        return self._clients[name]


def load(shell: InteractiveShell) -> None:
    """Register the magics, their completion, and the rewriting of waiting cells."""
    magics = BlaxelMagics(shell)
    tasks = TaskMagics(shell, magics)
    shell.register_magics(magics, tasks)
    complete.register(shell, magics, tasks)
    if hasattr(shell, "kernel"):
        shell.input_transformers_post.append(Awaiter(shell))


def unload(shell: InteractiveShell) -> None:
    """Take out what ``load`` put in."""
    shell.input_transformers_post[:] = [
        one for one in shell.input_transformers_post if not isinstance(one, Awaiter)
    ]
    for name in ("BlaxelMagics", "TaskMagics"):
        magics = shell.magics_manager.registry.pop(name, None)
        if magics is not None:
            magics.close()
            for kind, names in magics.magics.items():
                for magic in names:
                    shell.magics_manager.magics[kind].pop(magic, None)


def _say(text: str) -> None:
    """Print one line; names and words in it may be a server's."""
    print(static.plain(text))


def _place(name: str) -> tuple[bool, str]:
    """Split ``local/NAME`` into whether it is local and the name there."""
    head, slash, rest = name.partition("/")
    if head == "local":
        return True, rest if slash else "local"
    return False, name
