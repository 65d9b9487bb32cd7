"""python -m autoloss_jax.studies.run --config=configs/studies/table2.py[:quick] --config.raw=DIR [--workdir=DIR]"""

from autoloss_jax import door, report, settings
from autoloss_jax.studies import grid, table


def main() -> None:
    """Train what is not trained yet, and write the table."""
    workdir, study = door.folder(), door.CONFIG.value
    if not isinstance(study, grid.Study):
        raise settings.UserError("--config: not a study; name a file of configs/studies")
    settings.check(study)
    results = grid.run(study, workdir, door.say)
    found = table.rows(grid.by_row(results), study.ours)
    for suffix, text in (("csv", table.to_csv(found)), ("md", table.to_markdown(found))):
        report.write_text(workdir / f"{study.name}.{suffix}", text)
    print(table.to_markdown(found))
    door.say(f"{workdir / study.name}.csv and .md")


if __name__ == "__main__":
    door.enter(main, __name__)
