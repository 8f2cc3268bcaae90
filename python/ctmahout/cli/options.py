"""Command line options from the fields of `Config`, and arguments for paths and URIs."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import click

from ..options import Config
from ..storage import parse_location

__all__ = ["LOCATION", "json_option", "location", "with_config"]

_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_HINTS = get_type_hints(Config)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class _Location(click.Path):
    """A path or a URI; `click.Path` would turn ``s3://`` into ``s3:/``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return parse_location(os.fsdecode(super().convert(value, param, ctx)))


LOCATION = _Location()


def location(name: str, *, optional: bool = False) -> Callable[[Any], Any]:
    """Return an argument for a path or URI. With --show-config it may be missing: see `with_config`."""
    return click.argument(name.lower(), type=LOCATION, metavar=f"[{name}]" if optional else name, required=False)


def _option(name: str) -> Callable[[Any], Any]:
    field = _FIELDS[name]
    metadata, hint = field.metadata, _HINTS[name]
    types = getattr(hint, "__args__", (hint,))
    flag = "--" + name.replace("_", "-")
    names = [metadata["short"], name] if metadata["short"] else [flag, name]
    extra: dict[str, Any] = {"help": _help(field), "default": None}
    if hint is bool:
        names[0] = f"{flag}/--no-{flag[2:]}"
    elif hint == tuple[str, ...]:
        extra |= {"multiple": True, "metavar": metadata["metavar"]}
    elif metadata["choices"]:
        extra["type"] = click.Choice(metadata["choices"])
    elif int in types:
        extra |= {"type": int, "metavar": "N"}
    else:
        extra["metavar"] = metadata["metavar"]
    return click.option(*names, **extra)


def _help(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if default in (None, ()) or isinstance(default, bool):
        return str(field.metadata["help"])
    text = ", ".join(default) if isinstance(default, tuple) else default
    return f"{field.metadata['help']}  [default: {text}]"


def with_config(*names: str) -> Callable[[Any], Any]:
    """Add ``--config``, ``--show-config`` and the options of these fields to a verb, which gets them as a `Config`."""

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def run(config_file: Path | None, show_config: bool, **arguments: Any) -> Any:
            flags = {name: arguments.pop(name) for name in names}
            # An empty text means the default None: templates of pipelines pass a value for every option.
            flags = {n: None if v == "" and _FIELDS[n].default is None else v for n, v in flags.items()}
            flags = {name: value for name, value in flags.items() if value not in (None, ())}
            config = Config.load(file=config_file, environ=os.environ, flags=flags)
            if show_config:
                click.echo(config.to_toml(), nl=False)
                return None
            for argument in click.get_current_context().command.params:
                optional = str(argument.metavar).startswith("[")
                if isinstance(argument, click.Argument) and arguments[str(argument.name)] is None and not optional:
                    raise click.MissingParameter(param=argument)
            return verb(config=config, **arguments)

        wrapped: Any = run
        wrapped = click.option("--show-config", is_flag=True, help="Print the options of this run as TOML and stop.")(
            wrapped
        )
        wrapped = click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="Take options from a TOML file.",
            metavar="FILE",
        )(wrapped)
        for name in reversed(names):
            wrapped = _option(name)(wrapped)
        decorated: Callable[..., Any] = wrapped
        return decorated

    return decorate
