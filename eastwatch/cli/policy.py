"""`eastwatch policy`: who may call whom, by the mesh's own policies, and what they mean for recorded calls."""

from __future__ import annotations

import typer

from eastwatch.cli.denials import denials_
from eastwatch.cli.policy_check import check_
from eastwatch.cli.policy_lint import lint_
from eastwatch.cli.policy_sets import load_, sets_, unload_
from eastwatch.cli.policy_suggest import suggest_
from eastwatch.cli.policy_whatif import whatif_

app = typer.Typer(
    help="Who may call whom: verdicts of policies on recorded calls.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Who may call whom: verdicts of policies on recorded calls."""


app.command("load")(load_)
app.command("sets")(sets_)
app.command("unload")(unload_)
app.command("check")(check_)
app.command("whatif")(whatif_)
app.command("denials")(denials_)
app.command("lint")(lint_)
app.command("suggest")(suggest_)
