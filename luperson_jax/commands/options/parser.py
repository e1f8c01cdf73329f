"""The parser of both command lines: what is wrong is an InputError that names what is nearest."""

import argparse

import luperson_jax
from data_pipeline.errors import InputError, suggest
from luperson_jax.commands.options import settings


class Parser(argparse.ArgumentParser):
    """Ends with an InputError, which names what is nearest to a misspelt option."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        self._given = list(args or ())
        if any(action.dest == settings.CHANGES for action in self._actions):
            self._given = settings.plain(self._given)
        parsed, rest = super().parse_known_args(self._given, namespace)
        several = [one for one in self._get_positional_actions() if one.nargs in ("*", "+")]
        if several and not any(one.startswith("-") for one in rest):
            # argparse takes those before the next option alone.
            setattr(parsed, several[0].dest, [*getattr(parsed, several[0].dest), *rest])
            rest = []
        if rest:
            self.error(f"unexpected {' '.join(rest)}")
        return parsed, rest

    def error(self, message: str):
        """Raises InputError with the message, or with the nearest name of a misspelt option."""
        options = self._option_string_actions
        for given in self._given:
            name = given.partition("=")[0]
            if given == "--":
                break
            if name.startswith("--") and not any(known.startswith(name) for known in options):
                message = f"no option is called {name!r}{suggest(name, options)}"
                break
        raise InputError(f"{message}\n{self.format_usage().strip()}")


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Names the defaults that say something, and keeps the lines of an example."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        unset = action.default is None or action.default is False or action.default in ([], "")
        silent = action.required or unset or "(default: " in (action.help or "")
        return action.help if silent else super()._get_help_string(action)


def add_version(parser: argparse.ArgumentParser) -> None:
    """`--version`."""
    version = f"luperson_jax {luperson_jax.__version__}"
    parser.add_argument("--version", action="version", version=version, help="say it and end")
