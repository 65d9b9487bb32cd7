"""Command lines that nobody meant: they are refused in a line before anything begins, or mean what
their config says.
"""

import contextlib
import io
import json
import os

from autoloss_jax import config
from autoloss_jax.cli import command_line
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError

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
    del folder
    words = argv(random)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        said = "an exception that is none of ours"
        with contextlib.suppress(BaseException), contextlib.redirect_stderr(io.StringIO()):
            said = judged(parsed(words))
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    return f"{said}: {words}" if said else None


def judged(found):
    """What is wrong with what a command line gave; nothing, where nothing is."""
    if isinstance(found, str):
        return "" if found.isprintable() else f"not one plain line: {found!r}"
    again = settings.from_dict(json.loads(settings.to_json(found)), Config)
    return "" if again == found else "its JSON is another config"
