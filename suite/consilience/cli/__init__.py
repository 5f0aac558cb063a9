"""The command line: ``consilience list | check | run | compare | embed | verify | submit | leaderboard | ...``.

Exit codes: 0 success, 1 a cell failed or regressed or a target breaks a rule, 2 the command could not run. Each file
holds related commands. Heavy packages are imported inside the commands.
"""

from __future__ import annotations

import click

from . import boards, cache, catalogue, datasets, figures, recommendation, scoring, site
from ._common import Group

#: In the order of the help.
COMMANDS = (
    catalogue.list_command,
    catalogue.new,
    scoring.check,
    scoring.run,
    scoring.compare,
    scoring.embed,
    datasets.dataset_group,
    boards.verify,
    boards.submit,
    boards.leaderboard,
    site.site_command,
    site.report_command,
    figures.figures_command,
    recommendation.recommend_command,
    cache.explain,
    cache.cache_group,
    catalogue.environments,
    catalogue.schema,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilience")
def main() -> None:
    """Measure the alignment of models of matter: which items they find similar, and whether a checkpoint agrees."""


for command in COMMANDS:
    main.add_command(command)
