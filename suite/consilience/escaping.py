"""Text of others (models, cards, files, exceptions) made harmless where it is shown.

One function per place: :func:`shown` for a terminal, a log or CI, :func:`markdown`, :func:`csv_cell`, and :func:`clean`
for HTML, whose templates escape the rest. All of them mask values of environment variables that look like secrets.
"""

from __future__ import annotations

import os
import re
from typing import Any

_SECRET = re.compile(r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|PAT|JWT)($|_)")
#: A text with a user and a password in an address.
_ADDRESS = re.compile(r"://[^/\s:@]+:([^/\s@]+)@")
#: Shorter values are words that occur anywhere.
_SHORTEST_SECRET = 6
MASK = "***"

#: Control characters but tab and line feed, marks of direction, and what ends a line elsewhere.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]")
#: Commands of GitHub Actions: `::name ::` at the start of a line, `##[name]` anywhere.
_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_OLD_COMMAND = re.compile(r"##(?=\[)")

_MARKDOWN = (
    (re.compile(r"\\(?=[!-/:-@\[-`{-~])"), r"\\\\"),
    (re.compile(r"&(?=#?\w+;)"), "&amp;"),
    (re.compile(r"<"), "&lt;"),
    (re.compile(r"([|`*$])"), r"\\\1"),
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])"), r"\\_"),
    (re.compile(r"~(?=~)"), r"\\~"),
    (re.compile(r"\](?=\s*[(\[:])"), r"]\\"),
    (re.compile(r"(?<=\\)\s+(?=[(\[:])"), ""),
    (re.compile(r":(?=//)"), "&#58;"),
    (re.compile(r"\b(www)\.", re.IGNORECASE), r"\1&#46;"),
    (re.compile(r"(?<![\w.+-])@(?=\w)"), "&#64;"),
    (re.compile(r"(?<!&)#(?=\d)"), "&#35;"),
    (re.compile(r"^(?=#{1,6}\s|>|[-+]\s|=+\s*$|\d+[.)]\s)"), r"\\"),
)
#: What a spreadsheet reads as a formula when a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def looks_secret(name: str, value: str = "") -> bool:
    """Whether a variable looks like a token, a key or a password.

    Examples
    --------
    >>> looks_secret("AWS_SECRET_ACCESS_KEY"), looks_secret("TOKENIZERS_PARALLELISM")
    (True, False)
    >>> looks_secret("HTTPS_PROXY", "http://user:word@proxy:3128")
    True
    """
    return bool(_SECRET.search(name.upper()) or _ADDRESS.search(value))


def masked(text: str) -> str:
    """Text without the values of environment variables that look like secrets."""
    for secret in _secrets():
        text = text.replace(secret, MASK)
    return text


def _secrets() -> list[str]:
    # Read again only where the environment has changed: a table asks once per cell. `_data` spares the decoding.
    environment: dict[Any, Any] = dict(getattr(os.environ, "_data", os.environ))
    if environment != _seen.get("environment"):
        _seen.update(environment=environment, secrets=_read_secrets())
    secrets: list[str] = _seen["secrets"]
    return secrets


_seen: dict[str, Any] = {}


def _read_secrets() -> list[str]:
    secrets: set[str] = set()
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()):
            secrets |= {value, value.strip(), " ".join(value.split())}
        secrets.update(_ADDRESS.findall(value))
    return sorted((one for one in secrets if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def clean(text: str) -> str:
    r"""Text whose control characters and marks of direction are written out; lines and tabs stay.

    Examples
    --------
    >>> print(clean("\x1b[31mred\u202e"))
    \u001b[31mred\u202e
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", masked(text))


def shown(text: str) -> str:
    r"""Text for a terminal, or for a log that GitHub Actions reads; lines stay.

    Examples
    --------
    >>> print(shown("::set-output name=a::b"))
    : :set-output name=a::b
    """
    return _OLD_COMMAND.sub("# #", _COMMAND.sub(r"\1: ", clean(text.replace("\r\n", "\n"))))


def one_line(text: str) -> str:
    """Text for a cell of a table on a terminal."""
    return " ".join(shown(text).split("\n")).replace("\t", " ")


def markdown(text: str) -> str:
    r"""Text for Markdown, in a cell of a table or a paragraph: no markup, link, mention or HTML of its own.

    Examples
    --------
    >>> print(markdown("a|b <img src=x> [here](http://x) @all"))
    a\|b &lt;img src=x> [here]\(http&#58;//x) &#64;all
    """
    text = clean(" ".join(text.splitlines())).replace("\t", " ")
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return text


def code(text: str) -> str:
    """Text for Markdown between backticks."""
    return clean(" ".join(text.splitlines())).replace("`", "'").replace("|", "/")


def csv_cell(value: Any) -> Any:
    """Value for a cell of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe.

    Examples
    --------
    >>> csv_cell("=HYPERLINK(1)"), csv_cell("-0.5"), csv_cell(-0.5)
    ("'=HYPERLINK(1)", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    text = clean(value)
    if text.lstrip(" ").startswith(_FORMULA) or value.startswith(_FORMULA):
        try:
            float(text)
        except ValueError:
            return f"'{text}"
    return text
