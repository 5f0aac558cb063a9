"""Options of the command line that are made from the fields of a request, and older spellings of options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from consilience.files import check_writable
from consilience.session.request import options


class OutputPath(click.Path):
    """A file, or a folder, that the command writes: whether it can is tried before anything else is done."""

    def __init__(self, *, folder: bool = False) -> None:
        super().__init__(path_type=Path, file_okay=not folder, dir_okay=folder)
        self._folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Path, once a file could be written there; raises `OSError`, which names it."""
        path = Path(str(super().convert(value, param, ctx)))
        check_writable(path, folder=self._folder)
        return path


class AliasedOption(click.Option):
    """An option with older spellings, which work and are not shown."""

    def __init__(self, declarations: Any, *, aliases: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__([*declarations, *aliases], **settings)
        self._aliases = aliases

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Help without the older spellings."""
        spellings = self.opts
        self.opts = [one for one in spellings if one not in self._aliases]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = spellings


def limit_option(alias: str, **settings: Any) -> Callable[[Any], Any]:
    """``--limit``, the size of a sample, with the spelling that the command had before."""
    return click.option("--limit", "limit", cls=AliasedOption, aliases=(alias,), metavar="N", **settings)


def request_options(command: Any) -> Any:
    """Give a command one option per field of a request; its values arrive by the names of the fields."""
    for option in reversed(options().values()):
        spellings = [f"--{option.word}", option.name, *([f"-{option.short}"] if option.short else [])]
        settings: dict[str, Any] = {"cls": AliasedOption, "aliases": option.aliases, "default": None}
        if option.kind == "flag":
            settings["is_flag"] = True
        else:
            settings |= {"metavar": option.metavar, "multiple": option.kind in ("list", "paths"), "type": str}
        if option.value_if_bare is not None:
            settings |= {"is_flag": False, "flag_value": option.value_if_bare}
        shown = f" (default: {option.default:g})" if isinstance(option.default, float) else ""
        shown = shown or (f" (default: {option.default})" if option.default else "")
        text = option.help[0].upper() + option.help[1:] + (shown if option.kind != "flag" else "") + "."
        command = click.option(*spellings, help=text, **settings)(command)
    return command
