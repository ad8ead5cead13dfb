"""The shell commands that the benchmarks run, and what they print."""

from __future__ import annotations

import shlex

_FIRST = 10**48

LINE_BYTES = 50
"""Bytes of each line of ``flood``, with its end; no two lines are alike."""


def _python(program: str) -> str:
    return f"python3 -ISu -c {shlex.quote(program)}"


def flood(lines: int) -> str:
    """Return a command that writes lines of ``LINE_BYTES`` as fast as seq can."""
    return f"seq {_FIRST} {_FIRST + lines - 1}"


def flood_lines(lines: int) -> list[str]:
    """Return what ``flood`` writes."""
    return [str(_FIRST + number) for number in range(lines)]


def flood_data(lines: int) -> bytes:
    """Return the same as bytes."""
    return "".join(f"{line}\n" for line in flood_lines(lines)).encode()


def paced(count: int, rate: float) -> str:
    """Return a command that writes ``count`` lines, ``rate`` a second: each is the time it is written."""
    return _python(
        "import time\n"
        "start=time.time()+.2\n"
        f"for i in range({count}):\n"
        f" time.sleep(max(0,start+i/{rate}-time.time()))\n"
        " print('%.6f'%time.time(),flush=True)"
    )


SCENARIOS = {
    "hello": "echo Hello",
    "burst_20k": "seq -f 'line %06.0f abcdefgh' 1 20000",
    "both_fast": _python(
        "import os\nfor i in range(400): os.write(1+i%2,b'%d line %04d\\n'%(1+i%2,i))"
    ),
    "partial": (
        "printf 'one\\ntwo\\n'; sleep 0.4; printf par; sleep 0.4; printf tial; sleep 0.4; printf '\\nnext'; "
        "sleep 0.3; printf ' and more\\n'; echo oops >&2; sleep 0.3; printf 'prompt> '; sleep 0.2; "
        "echo err >&2; sleep 0.3; printf 'answer\\n'"
    ),
    "utf8_90k": _python("import os\nos.write(1,('\\u20ac'*39+'\\n').encode()*750)"),
    "unterminated_exit7": (
        "echo first; sleep 0.6; echo second; echo err >&2; printf 'last without newline'; exit 7"
    ),
    "lookalike": _python(
        "import os,time\n"
        "for t in ['stdout:fake','stderr:fake','[keepalive]','[keepalive] mine','plain',"
        "'[... truncated, see the process log file for the full output ...]']:\n"
        " os.write(1,t.encode()+b'\\n');time.sleep(.12)\n"
        "os.write(1,b'stdout:a\\nstderr:b\\n[keepalive]\\nend\\n')"
    ),
    "bar_and_lines": _python(
        "import os,time\n"
        "for i in range(12):\n"
        " os.write(2,b'\\r%3d%%'%(i*9));os.write(1,b'step %d\\n'%i);time.sleep(.1)\n"
        "os.write(2,b'\\n')"
    ),
    "quiet_partial_35s": "echo start; printf '50%%'; sleep 35; printf ' 60%%\\n'; echo end",
    "ticks_70s_crlf": _python(
        "import os,time\n"
        "for i in range(70): os.write(1,b'out %d\\r\\n'%i);os.write(2,b'err %d\\r\\n'%i);time.sleep(1)"
    ),
}
"""The ten scenarios of protocol 5.6."""
