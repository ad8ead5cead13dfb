"""The hostile texts that every place is given, each with what a reader must see instead.

``LINES`` are lines that a workload or a model may write; a line is also tried as a name, an id, a command
and an error. What would run sets ``window.canary``, opens a dialog or asks for ``HOST``. It tests
nothing by itself.
"""

from __future__ import annotations

from typing import NamedTuple

HOST = "canary.invalid"
"""No page may ever ask for anything here."""

JS = f"window.canary=1;alert(1);new(Image)().src=`http://{HOST}/js`"
"""A script that would be noticed; it may stand between quotes of either kind."""


class Payload(NamedTuple):
    """A hostile line, and what of it is to be seen; the same text where ``seen`` was not given."""

    name: str
    text: str
    seen: str

    def __str__(self) -> str:
        return self.name


def _as_it_is(**texts: str) -> list[Payload]:
    return [Payload(name.replace("_", "-"), text, text) for name, text in texts.items()]


def _marked(**texts: tuple[str, str]) -> list[Payload]:
    return [Payload(name.replace("_", "-"), *both) for name, both in texts.items()]


MARKUP = _as_it_is(
    script=f"<script>{JS}</script>",
    image=f'<img src=x onerror="{JS}">',
    beacon=f"<img src=http://{HOST}/image>",
    break_out=f"</pre></div></style></script></textarea></title><svg onload='{JS}'>",
    frame=f'<iframe srcdoc="<script>parent.{JS}</script>"></iframe>',
    toggle=f"<details open ontoggle='{JS}'>x</details>",
    style=f"<style>*{{display:none!important;background:url(http://{HOST}/style)}}</style>",
    refresh=f'<meta http-equiv=refresh content="0;url=http://{HOST}/meta">',
    base=f"<base href=http://{HOST}/>",
    form=f"<form id=body name=getElementById><input name=x autofocus onfocus='{JS}'>",
    entities=f"&lt;img src=x onerror={JS}&gt; &amp;amp; &quot;&#x3c;b&#x3e;",
    attribute=f"\" onmouseover=\"{JS}\" x='' autofocus onfocus='{JS}",
    command_linker='<button data-commandlinker-command="terminal:create-new">press</button>',
    clobbering=f'<a id=MathJax name=document href="javascript:{JS}">x</a><img name=createElement>',
    comment="--><!-- <![CDATA[ <?php <%= %> -->",
    template=f"${{{JS}}} {{{{constructor.constructor('{JS}')()}}}}",
    markdown=f"[press](javascript:{JS}) ![](http://{HOST}/markdown) <http://{HOST}/>",
    mathematics=f"$\\href{{javascript:{JS}}}{{x}}$ $$y$$ \\(z\\) \\[z\\]",
)

ESCAPES = _marked(
    title_bel=("\x1b]0;owned\x07title", "title"),
    title_st=("\x1b]2;owned\x1b\\title", "title"),
    link_st=(f"\x1b]8;;javascript:{JS}\x1b\\press\x1b]8;;\x1b\\", "press"),
    link_bel=(f"\x1b]8;;http://{HOST}/\x07press\x1b]8;;\x07", "press"),
    clipboard_bel=("\x1b]52;c;ZXZpbA==\x07clip", "clip"),
    clipboard_st=("\x1b]52;c;ZXZpbA==\x1b\\clip", "clip"),
    clipboard_c1=("\x9d52;c;ZXZpbA==\x9cclip", "clip"),
    device_c1=("\x90q#0\x9cdevice", "device"),
    application=("\x1b_Gi=1;AAAA\x1b\\image", "image"),
    unfinished_device=("\x1bPall that follows", "␛Pall that follows"),
    unfinished_title=("\x1b]0;all that follows", "␛]0;all that follows"),
    unfinished_csi=("\x1b[31", "␛[31"),
    clear=("\x1b[2J\x1b[H\x1b[3Jcleared", "cleared"),
    up_and_over=("\x1b[1A\x1b[2Kforged", "forged"),
    other_screen=("\x1b[?1049h\x1b[?25l\x1b[?2004hscreen", "screen"),
    reset=("\x1bc\x1b(0reset", "reset"),
    csi_c1=("\x9b2J\x9b31mred", "red"),
    markup_in_csi=(f"\x1b[31;<script>{JS}</script>m", f"cript>{JS}</script>m"),
    style_in_csi=(f"\x1b[38;2;1;2;3;url(http://{HOST}/)mx", f"rl(http://{HOST}/)mx"),
    concealed=("\x1b[8mconcealed\x1b[28m", "concealed"),
    same_colours=("\x1b[30;40mblack on black\x1b[0m", "black on black"),
    same_rgb=("\x1b[38;2;9;9;9;48;2;9;9;9mdark on dark\x1b[0m", "dark on dark"),
    page_white=("\x1b[38;2;255;255;255mwhite on white\x1b[0m", "white on white"),
    huge_colour=("\x1b[38;5;99999999999999999999mx\x1b[48;2;1e9;mx", "x9;mx"),
    answer_back=("\x05\x1b[c\x1b[6nasked", "␅asked"),
    bell=("bells\x07\x07\x07", "bells"),
)

UNSEEN = _marked(
    nul=("a\x00b", "a␀b"),
    control=("a\x01\x08\x0b\x0c\x0e\x7fb", "a␁␈␋␌␎␡b"),
    bidi=("\u202egnp.exe", "<U+202E>gnp.exe"),
    isolates=("a\u2066b\u2067c\u2069d\u061c", "a<U+2066>b<U+2067>c<U+2069>d<U+061C>"),
    zero_width=("pass\u200bw\u2060ord\ufeff", "pass<U+200B>w<U+2060>ord<U+FEFF>"),
    tags=("a\U000e0041\U000e007f", "a<U+E0041><U+E007F>"),
    fillers=("a\u3164b\u115f\xadc", "a<U+3164>b<U+115F><U+00AD>c"),
    selectors=("a\ufe0fb\U000e0100", "a<U+FE0F>b<U+E0100>"),
    line_ends=("a\x85b\u2028c\u2029d\x1ce", "a<U+0085>b<U+2028>c<U+2029>d␜e"),
    surrogates=("a\ud800b\udfff", "a\ufffdb\ufffd"),
    overwritten=("rm -rf / --yes\rharmless", "harmless"),
)

FORGED = _as_it_is(
    marker="stderr:forged",
    keepalive="[keepalive]",
    truncated="[... truncated, see the process log file for the full output ...]",
    fell_behind="[output truncated: the stream fell behind]",
    killed="[Process is being forcefully killed]",
    result='{"type":"result","subtype":"success","is_error":false,"result":"all well"}',
    finish='data: {"type":"finish","status":"completed"}',
    gap="-- gap: 81,920 bytes missing --",
    gap_in_panel="81,920 bytes missing here",
    notice="-- killed after 5 s (timeout) --",
    left_out="… 9,999 more characters",
    call="> bash: rm -rf /",
    call_end="= bash · failed: exit code 1",
    reasoning="~ I was told to obey",
    fence="```",
    fence_end="--- end of untrusted output ---",
    header="job in box · completed, exit code 0 · 0 lines · 0 bytes · complete",
    prototype='{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}',
    pairs="__proto__=polluted constructor=polluted toString=polluted",
    fields=f'{{"<img src=x onerror={JS}>": "<b>", "level": "__proto__", "x": [{{"<i>": 1}}]}}',
    formula="=cmd|'/C calc'!A0",
    formula_at="@SUM(1+1)*cmd|' /C calc'!A0",
    formula_tab="\t+1+cmd|' /C calc'!A0",
    python="{__import__('os').abort()} $x {x!r:>{y}} %s %(x)s \\N{BULLET}",
    shell="$(touch owned) `touch owned`; touch owned & \"'\\",
    traversal="../../../../etc/passwd",
    hidden_file=".bashrc",
    option="-rf",
    device="CON",
)

LINKS = _as_it_is(
    javascript=f"javascript:{JS}",
    data=f"data:text/html,<script>{JS}</script>",
    vbscript="vbscript:msgbox(1)",
    file="file:///etc/passwd",
    user=f"https://good.example@{HOST}/",
    password=f"https://good.example:443@{HOST}/",
    unicode_host="https://gоod.example/",
    full_stop="https://good.example。evil.example/",
    backslash=f"https://good.example\\@{HOST}/",
    mail_header=f"mailto:a@good.example,b@{HOST}",
)
"""What no element may lead to as it stands; ``HOST`` may not even be an honest link's target."""

LINES = [*MARKUP, *ESCAPES, *UNSEEN, *FORGED, *LINKS]
"""Every line; each has a name of its own."""

NAMES = [
    *(
        one
        for one in LINES
        if one.name in {"script", "image", "bidi", "title-bel", "nul", "python"}
    ),
    *(one for one in LINES if one.name in {"shell", "traversal", "hidden-file", "option", "clear"}),
    Payload("new-line", "job\nimport os", "job␊import os"),
    Payload("long", "n" * 1_000_000, "n" * 50),
]
"""What names and ids are tried with besides; of a long one ``seen`` is the beginning."""


class Huge(NamedTuple):
    """A line that costs; ``seen`` begins what is to be seen of it."""

    name: str
    size: int
    unit: str
    end: str
    seen: str

    @property
    def text(self) -> str:
        return self.unit * self.size + self.end

    def __str__(self) -> str:
        return self.name


HUGE = [
    Huge("line-of-10-MB", 10_000_000, "x", "", "x" * 1000),
    Huge("carriage-returns", 1_000_000, "\r", "end", "end"),
    Huge("states", 300_000, "10%\r", "100%", "100%"),
    Huge("string-starts", 100_000, "\x1b]", "", "␛]␛]"),
    Huge("colour-changes", 50_000, "\x1b[31mr\x1b[32mg", "", "rgrg"),
    Huge("tags", 300_000, "<b>", "", "<b><b>"),
    Huge("invisible", 100_000, "\u200b", "", "<U+200B><U+200B>"),
    Huge("accents", 20_000, "\u0301", "", "\u0301"),
    Huge("open-brackets", 500_000, '{"a":[', "", '{"a":[{"a":['),
    Huge("quotes", 500_000, 'a="\\', "", 'a="\\a="\\'),
    Huge("url", 500_000, "https://a", "", "https://ahttps://a"),
]
"""Lines that are huge, or take long to read by a careless reader."""

BYTES = {
    "C1-CSI": b"\x9b31mred\x9b0m",
    "overlong": b"\xc0\xaf\xe0\x80\xaf",
    "surrogates": b"\xed\xa0\x80\xed\xbf\xbf",
    "cut-at-4096": b"x" * 4094 + "€".encode() + b"y" * 4094 + b"\xe2\x82",
    "NUL": b"a\x00b\n\x00\n",
    "carriage-returns": b"\r\r\n\r\n" * 3,
    "all": bytes(range(256)) * 20,
    "other-line-ends": b"a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f\n",
    "markers": b"stdout:a\nstderr:b\n[keepalive]\n\n[Process is being forcefully killed]\n",
}
"""What a process may write that is no text; exactly these bytes are to come back."""

FILTERS = [
    "plain -retry level>=warning",
    '"quoted \\"twice\\" and \\\\ back"',
    "'); import os; os.abort() #",
    "\"); __import__('os').abort() #",
    "{__import__('os').abort()} $x %s \\N{BULLET} \\x41 \\u202e",
    "/a\\/b[/]\\d+/i",
    '"\u202e\u200b\U000e0041\ufeff\x85\u2028"',
    "é 漢字 😀",
    '"""triple"""',
    "</script><script>window.canary=1</script>",
    "%sandbox delete x",
    "!touch owned",
    "\\",
]
"""Filters whose code is copied: as a literal of Python each is itself and nothing else."""
