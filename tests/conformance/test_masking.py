"""What a cell passes on with ``-e`` is shown nowhere, and is exact in the data."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canary import Search, everything
from tests.kernels import Kernel, kernel
from tests.notebook_runs import own_folders

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

KEY = "sk-CANARY/5up3r+s3cr3t=~%x"
LINES = (
    "-----BEGIN CANARY KEY-----\nMIIEcanary1111111111111\nMIIEcanary2222222222222\n-----END-----"
)
SEARCH = Search(KEY, *LINES.split("\n")[1:3])
WIDGETS = pytest.mark.parametrize("widgets", [True, False], ids=["panel", "plain"])

SAYS_ALL = r"""
import base64, json, os, sys, time, urllib.parse
key, pem = os.environ["API_KEY"], os.environ["PEM"]
def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()
    time.sleep(.03)
print("plain", key)
print("base64", base64.b64encode(key.encode()).decode(), base64.b64encode(b"user:" + key.encode()).decode())
print("url", urllib.parse.quote(key), urllib.parse.quote(key, safe=""), "json", json.dumps({"k": key}))
print(pem)
print("escaped", json.dumps(pem))
print("painted \x1b[31m" + key[:5] + "\x1b[0m" + key[5:])
for cut in range(4, len(key), 5):  # each half is written by itself
    say("halves " + key[:cut]); say(key[cut:] + "\n")
say("bar " + key + "\r"); say("bar " + key + " done\n")
print("long " + "x" * 3990 + key)
print("Error: key is", key, file=sys.stderr)
say("open " + key)
time.sleep(.3)
sys.exit(3)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel whose environment holds the values, with ``local`` selected."""
    folder: Path = tmp_path_factory.mktemp("masking")
    with own_folders(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_KEY", KEY)
        patch.setenv("PEM", LINES)
        with kernel(folder, "import os\n%load_ext blaxel_jupyter\n%sandbox use local") as running:
            yield running


@pytest.mark.parametrize(
    ("prefix", "save", "widgets"),
    [
        ("", "tail", True),
        ("%%time\n", "all", True),
        ("", "none", True),
        ("", "tail", False),
        ("%%time\n", "tail", False),
    ],
)
def test_a_cell_shows_no_value(notebook: Kernel, widgets: bool, prefix: str, save: str) -> None:
    """Not live, not in what stays, not in its error; and it says how many there were."""
    shown = notebook.run(
        f"{prefix}%%sandbox_exec --lang python -e API_KEY -e PEM --save {save}\n{SAYS_ALL}",
        widgets=widgets,
    )
    assert shown.error is not None
    assert "[API_KEY masked]" in "".join(shown.lines), "the last line of stderr is told"
    SEARCH.clean(everything(shown), f"a cell, {save}")
    assert notebook.value("_sandbox.logs.masked") == 22
    if not widgets:
        assert shown.text.count("[API_") == 16, (
            "of a progress bar its last state, of long lines no half"
        )
        assert shown.text.count("[PEM masked]") == 5
        return
    assert "22 values masked" in shown.updates[-1]["text/html"]
    told = [int(n) for n in re.findall("'masked': (\\d+)", everything(shown))]
    assert max(told) > 10, "the live panel was not told"
    kept = shown.updates[-1]["text/plain"].split("more characters")[-1]
    assert ("open [API_KEY masked]" in kept) == (save != "none")


def test_the_data_is_exact(notebook: Kernel) -> None:
    """What is asked for in code holds the values: bytes, text, rows, frames."""
    notebook.run(f"%%sandbox_exec --lang python -e API_KEY -e PEM --no-raise-error\n{SAYS_ALL}")
    for expression in (
        "_sandbox.stdout",
        "_sandbox.stdout_bytes.decode()",
        "'\\n'.join(row['text'] for row in _sandbox.logs)",
        "'\\n'.join(_sandbox.logs.to_pandas()['text'])",
        "'\\n'.join(_sandbox.logs.filter('CANARY').column('text'))",
    ):
        text = notebook.value(expression)
        assert f"plain {KEY}\n" in text
    assert notebook.value("_sandbox.stdout").endswith(f"open {KEY}")
    assert LINES in notebook.value("_sandbox.stdout")
    assert notebook.value("_sandbox.integrity") == "complete"


def test_displays_of_the_data_show_no_value(notebook: Kernel) -> None:
    """The reprs of a run and of its tables, whole and filtered, and what leads to its errors."""
    notebook.run(f"%%sandbox_exec --lang python -e API_KEY -e PEM --no-raise-error\n{SAYS_ALL}")
    for expression in (
        "_sandbox",
        "_sandbox.logs",
        "_sandbox.logs.filter('CANARY')",
        "_sandbox.error_context()",
    ):
        shown = notebook.run(expression)
        assert shown.displays
        SEARCH.clean(everything(shown), expression)
    assert (
        "[API_KEY masked]" in notebook.run("_sandbox.logs.filter('plain')").displays[0]["text/html"]
    )


@WIDGETS
def test_the_command_line_shows_no_value(notebook: Kernel, widgets: bool) -> None:
    """A value that was put into the command by --expand is masked above the lines, and in the list."""
    name = f"expanded-{widgets}"
    shown = notebook.run(
        f"%%sandbox_exec -n {name} --expand -e API_KEY\necho to {{os.environ['API_KEY']}}",
        widgets=widgets,
    )
    assert shown.error is None, shown.lines
    SEARCH.clean(everything(shown), "a command line")
    assert KEY in notebook.value("_sandbox.command")
    listed = notebook.run("%sandbox ps")
    assert name in listed.displays[0]["text/html"]
    SEARCH.clean(everything(listed), "%sandbox ps")


@WIDGETS
def test_looking_again_shows_no_value(notebook: Kernel, widgets: bool) -> None:
    """%sandbox_logs in another cell knows what the process was given."""
    name = f"again-{widgets}"
    notebook.run(f"%%sandbox_exec -n {name} -q -e API_KEY\necho key: $API_KEY; echo $API_KEY >&2")
    for line in (name, f"{name} -f", f"{name} --tail 1", f"{name} --stderr"):
        shown = notebook.run(f"%sandbox_logs {line}", widgets=widgets)
        assert shown.error is None, shown.lines
        assert "[API_KEY masked]" in everything(shown)
        SEARCH.clean(everything(shown), f"%sandbox_logs {line}")


def test_values_that_are_long_logs_show_none(notebook: Kernel) -> None:
    """Also in lines that come in large blocks, and in those that a page asks for again."""
    shown = notebook.run(
        "%%sandbox_exec -e API_KEY --no-raise-error\n"
        "i=0; while [ $i -lt 20 ]; do seq 1500; echo $API_KEY; i=$((i+1)); done",
        widgets=True,
    )
    sent = everything(shown)
    SEARCH.clean(sent, "a long log")
    assert "20 values masked" in shown.updates[-1]["text/html"]
    assert notebook.value("_sandbox.logs.masked") == 20
    assert notebook.value("_sandbox.stdout").count(KEY) == 20


def test_python_runs_are_masked_too(notebook: Kernel) -> None:
    """The ``env=`` of exec, in the panel and in its merged form, with several runs."""
    shown = notebook.run(
        "from blaxel_jupyter import SandboxClient, LogPanel\n"
        "client = SandboxClient('local')\n"
        "env = {'TOKEN': os.environ['API_KEY']}\n"
        "one = await client.exec('echo one $TOKEN; echo $TOKEN >&2', env=env, wait=True)\n"
        "two = await client.exec('echo two $TOKEN', env=env, wait=True)\n"
        "panel = LogPanel(one, two)\n"
        "while panel.flush(): pass\n"
        "display(panel, panel.logs, panel.logs.filter('two'), one.logs)",
        widgets=True,
    )
    assert shown.error is None, shown.lines
    sent = everything(shown)
    SEARCH.clean(sent, "a panel of two runs")
    assert sent.count("[TOKEN masked]") >= 6
    assert (
        notebook.value("[row['text'].endswith(os.environ['API_KEY']) for row in panel.logs]")
        == [True] * 3
    )


def test_a_server_that_repeats_a_value_does_not_show_it(notebook: Kernel) -> None:
    """The message, the body and the cause of an error: all are masked."""
    shown = notebook.run(
        "from blaxel_jupyter.errors import StatusError\n"
        "try:\n"
        "    await client.exec('true', cwd='/no/' + env['TOKEN'], env=env)\n"
        "except StatusError as error:\n"
        "    print(error, error.body, vars(error), repr(error))"
    )
    assert "[TOKEN masked]" in shown.stdout
    SEARCH.clean(everything(shown), "an error")


def test_a_value_on_the_line_warns_without_it(notebook: Kernel) -> None:
    """KEY=value is saved with the notebook; the warning does not repeat it, and it is masked, too."""
    shown = notebook.run(f"%%sandbox_exec -e OTHER={KEY}\necho $OTHER")
    assert "-e OTHER" in shown.stderr
    assert "[OTHER masked]" in shown.stdout
    SEARCH.clean(everything(shown), "a cell with KEY=value")


def test_credentials_are_masked_without_being_passed(notebook: Kernel) -> None:
    """Keys of the account, and the local service's token, whoever prints them."""
    notebook.run(f"os.environ['BL_API_KEY'] = {KEY[::-1]!r}")
    shown = notebook.run(f"%%sandbox_exec\necho '{KEY[::-1]}'")
    assert shown.error is None, shown.lines
    assert shown.stdout == "[BL_API_KEY masked]\n"
    notebook.run("del os.environ['BL_API_KEY']")
    shown = notebook.run(
        "%%sandbox_exec --expand\ncat {os.environ['JUPYTER_RUNTIME_DIR']}/blaxel-local.json"
    )
    assert '"token": "[token masked]"' in shown.stdout
    assert notebook.value("len(__import__('json').loads(_sandbox.stdout)['token']) > 20")


def test_the_search_would_find_it(notebook: Kernel) -> None:
    """Without masking, each of these would be seen."""
    said = notebook.run("print(os.environ['API_KEY'])").stdout
    for encode in (
        str,
        lambda text: base64.b64encode(text.encode()).decode(),
        urllib.parse.quote,
    ):
        with pytest.raises(AssertionError):
            SEARCH.clean(f"x{encode(said)}", "a cell")
    with pytest.raises(AssertionError):
        SEARCH.clean(LINES, "a cell")
