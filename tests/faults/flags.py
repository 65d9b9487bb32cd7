"""Command lines that nobody meant: they are refused in a line before anything begins, or mean what
their config says.
"""

import contextlib
import io
import json

from autoloss_jax import config
from autoloss_jax.cli import command_line
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from tests.support.commands import FORKS

VALUES = (
    "", "0", "1", "-1", "2.5", "1e400", "nan", "inf", "-inf", "True", "none", "None", "a", "a,b",
    "()", "('a',)", "(1,2", "[1]", "{}", "0x10", "1_000", "9" * 30, "é", "a\nb", "\x1b[31m", "--",
    "*", "[ ]", "../x", "ce", "focal(gamma=1.0)", "focal(", "a:b", "package.module:name", "0,5",
    "deepfm", "tabular", "auto", "1e-3", " 1 ", "1;2", "'", '"', "\\", "lambda: 1", "open('x')",
)  # fmt: skip


def argv(random):
    """A command line of some flags."""
    known = [name for name, _, _ in settings.keys(Config())]
    words = []
    for _ in range(random.randrange(1, 5)):
        name = random.choice(known)
        if random.random() < 0.2:
            place = random.randrange(len(name))
            name = name[:place] + random.choice(("", "x", ".", "=", "é")) + name[place + 1 :]
        value = random.choice(VALUES)
        if random.random() < 0.3:
            value = f"{value}{random.choice(VALUES)}"
        flag = random.choice(("--config.",) * 3 + ("-config.", "--", "--noconfig.")) + name
        words.append(random.choice((f"{flag}={value}", f"{flag}={value}", flag)))
    named = random.choice(("tabular", "tabular", "criteo", "table2", "nowhere", ""))
    return ["autoloss", f"--config={named}", *words]


def parsed(words):
    """What a command line is: its config, or what is said of it."""
    try:
        command_line.parse(words, module="autoloss_jax.main", defaults=Config())
        found = config.check(command_line.config(Config))
    except UserError as error:
        return str(error)
    return found


def trial(random, folder):
    """In a process of its own, as flags are defined once."""
    words, said = argv(random), folder / "said"
    process = FORKS.Process(target=_judge, args=(words, said))
    process.start()
    process.join()
    wrong = said.read_text() if said.exists() else "an exception that is none of ours"
    return f"{wrong}: {words}" if wrong else None


def _judge(words, said):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        said.write_text(judged(parsed(words)))


def judged(found):
    """What is wrong with what a command line gave; nothing, where nothing is."""
    if isinstance(found, str):
        return "" if found.isprintable() else f"not one plain line: {found!r}"
    again = settings.from_dict(json.loads(settings.to_json(found)), Config)
    return "" if again == found else "its JSON is another config"
