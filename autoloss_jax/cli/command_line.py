"""--config=NAME[:variant], --config.a.b=value and --workdir: the config and the folder that a
command line names.

Nothing here imports JAX, so that --help and a mistyped flag are answered at once. ml_collections
turns words into values by the type of each key. It assigns them one by one, so it gets a draft;
the config is frozen, and is made of its file and of these values.
"""

import dataclasses
import functools
import itertools
import re
import sys
import types
from collections.abc import Collection, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, TypeVar

from absl import flags
from ml_collections import config_flags

from autoloss_jax.cli import commands
from autoloss_jax.config import import_string, library, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.config.renamed import RENAMED

WORKDIR = flags.DEFINE_string(
    "workdir", "", "the run's folder; empty: runs/<config>-<variant> beside you"
)
ALLOW_IMPORTS = flags.DEFINE_list(
    "allow-imports",
    [],
    "modules whose code a run may use, as mine,package.losses: a run that names code of others is "
    "opened only where you name it too",
)
T = TypeVar("T")
HELP = ("--help", "-h", "--helpfull", "--helpshort", "-help")


def parse(argv: Sequence[str], module: str, defaults: Any) -> list[str]:
    """Parse all flags, those of the program `module` among them; the words that are no flags.

    Without --config the keys are those of `defaults`. --help prints them and ends the process.
    UserError for a flag, a file, a variant, a key or a value that is not right.
    """
    try:
        argv = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
        named = _named(argv)
        config = defaults if named is None else _load(named)
        _check_keys(argv, config)
        config_flags.DEFINE_config_dataclass(
            "config",
            _draft(config),
            "one of the configs that come with the package, as criteo, or a file of your own; with "
            f":variant if it has one, as criteo:quick. There are {', '.join(library.trainings())}; "
            f"and for studies {', '.join(library.studies())}",
            sys_argv=argv,
            parse_fn=lambda text: _draft(_load(text)),
        )
        if "--version" in argv[1:]:
            print(commands.version())
            sys.exit(0)
        if any(word in HELP for word in argv[1:]):
            _print_help(module, named, config)
            sys.exit(0)
        lists = {f"--config.{n}" for n, _, f in settings.keys(config) if f.type == tuple[str, ...]}
        words = flags.FLAGS([_quoted(word, lists) for word in argv], known_only=False)
        import_string.allow(*ALLOW_IMPORTS.value)
        return words
    except UserError:
        raise
    except (flags.Error, ValueError) as error:  # absl has both
        raise UserError(_one_line(str(error))) from None


def config_file() -> str:
    """What --config names, as NAME, NAME:variant or FILE; nothing without it."""
    flag = flags.FLAGS["config"]
    return "" if flag.using_default_value else config_flags.get_config_filename(flag)


def overrides() -> dict[str, Any]:
    """The keys that the command line itself gives, with their values, as {"model.name": "fm"}."""
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


def config(kind: type[T]) -> T:
    """The config of --config with these keys; UserError without a config file, or if it is not
    of this `kind`: a `Config` trains, a `Study` is a grid of trainings.
    """
    found = _load(_config_named())
    if not isinstance(found, kind):
        raise UserError(
            f"--config={config_file()}: a {type(found).__name__}, where a {kind.__name__} is "
            "wanted: autoloss train takes the configs of trainings, autoloss study those of "
            "studies (--help names them)"
        )
    return settings.with_keys(found, overrides())


def folder(mode: str = "") -> Path:
    """Where a run goes: --workdir, or a name from the config's and the mode's; UserError without a
    config.
    """
    file, _, variant = _config_named().partition(":")
    name = "-".join(filter(None, (Path(file).stem, variant, mode)))
    return Path(WORKDIR.value or Path("runs") / name)


def existing_folder() -> Path:
    """The folder of a run that is there already; UserError if there is none."""
    if not WORKDIR.value and not config_file():
        raise UserError("--workdir: name the folder of a finished training run")
    found = Path(WORKDIR.value) if WORKDIR.value else folder()
    if not found.is_dir():
        raise UserError(f"--workdir={found}: no such folder")
    return found


def _config_named() -> str:
    if not config_file():
        raise UserError("--config: name a config, as --config=quickstart (--help lists them)")
    return config_file()


def _named(argv: Sequence[str]) -> str | None:
    """What --config names in a command line, before it is parsed; None without it."""
    found = None
    for word, following in itertools.pairwise([*argv[1:], ""]):
        if match := re.fullmatch(r"--?config(=(.*))?", word):
            found = match[2] if match[1] else following
    return found


@functools.cache
def _load(named: str) -> Any:
    """The config of NAME or FILE, with :variant or without. Its file is run once."""
    named_file, *variant = named.split(":", 1)
    file = str(library.find(named_file))
    module = types.ModuleType("config_file")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where dataclasses of the file look for their module
    with import_string.blamed(f"--config={named}"):
        SourceFileLoader(module.__name__, file).exec_module(module)
        config = module.get_config(*variant)
    if not dataclasses.is_dataclass(config):
        raise UserError(
            f"--config={named}: get_config() returned a {type(config).__name__}; it wants an "
            "autoloss_jax.config.Config"
        )
    return config


def _draft(config: Any) -> Any:
    """A copy of a config that can be assigned to, with keys of the same types."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    sections = {n: _draft(v) for n, v in values.items() if dataclasses.is_dataclass(v)}
    kinds = [
        (field.name, type(sections[field.name]) if field.name in sections else field.type)
        for field in dataclasses.fields(config)
    ]
    shown = {"__str__": lambda self: ""}  # --help shows the default of --config
    draft = dataclasses.make_dataclass(type(config).__name__, kinds, namespace=shown)
    return draft(**values | sections)


def _check_keys(argv: Sequence[str], config: Any) -> None:
    """UserError for the first --config.NAME that is not a key of the config."""
    known = [name for name, _, _ in settings.keys(config)]
    for word in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([^=]*)", word)
        if not match or match[1] in known:
            continue
        if (new := RENAMED.get(match[1])) in known:
            raise UserError(f"--config.{match[1]}: now called --config.{new}")
        if any(name.startswith(f"{match[1]}.") for name in known):
            where = f"--config.{match[1]}"
            raise UserError(f"{where} is a section: set its keys, as {where}.name=...")
        raise UserError(
            f"--config.{match[1]}: no such config key{settings.nearest(match[1], known)} "
            "(--help lists them)"
        )


def _quoted(flag: str, lists: Collection[str]) -> str:
    """A flag of a list of words, as site,device or ce,package.module:name, as Python writes such a
    list: the parser takes them for one word, and a colon for a slice.
    """
    name, _, value = flag.partition("=")
    if name not in lists or not value or value.startswith(("'", '"', "(", "[")):
        return flag
    words = re.split(r",(?![^(]*\))", value)
    return f"{name}={tuple(word.strip() for word in words if word.strip())!r}"


def _one_line(error: str) -> str:
    """What absl says of a bad flag."""
    if early := re.match(r"Found (\S+) in argv before", error):
        return f"{early[1]} comes before --config: name the config file first"
    return " ".join(error.split())


def _print_help(module: str, named: str | None, config: Any) -> None:
    own = "".join(flags.FLAGS.module_help(name) for name in (__name__, module))
    text = commands.spelled(sys.modules[module].__doc__ or "")
    print(f"{text}\n{own}\nconfig keys, as in {named or 'no config'}:")
    print(settings.describe(config))
