"""`eastwatch policy load`, `sets` and `unload`: which policies hold when."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from datetime import datetime
from typing import Annotated

import typer

from analyzers.columns import many, write
from analyzers.dependencies.model import rfc3339
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.render.check_table import skipped_lines
from analyzers.policy.render.sets_table import print_sets
from analyzers.policy.store import Loaded, load_set, sizes, stored_set, version_at, versions
from collector.clock import SystemClock
from eastwatch.cli.context import (
    ConfigOption,
    JsonOption,
    StoreOption,
    open_for_reading,
    open_for_writing,
    settings_of,
)
from eastwatch.cli.policy_files import FilesArgument, NamespaceOption, read_policies
from eastwatch.cli.times import parse_time
from eastwatch.policy_options import settled


def load_(
    ctx: typer.Context,
    files: FilesArgument,
    valid_from: Annotated[
        str | None,
        typer.Option("--valid-from", metavar="TIME", help="from when on they hold: RFC 3339, or relative [now]"),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="beside what holds then, whose documents of the same name they replace")
    ] = False,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Store policies as the set that holds from now on, or from another time; `findings` judges calls by them."""
    settings = settings_of(ctx, store, config)
    policies = read_policies(files, namespace)
    if not policies.documents:
        skipped = "; ".join(skipped_lines(policies.skipped)) or "they are empty"
        raise BadPolicy(
            f"{' '.join(files)}: no policies there ({skipped}), expected some; "
            "`eastwatch policy unload` ends what holds"
        )
    now = SystemClock().now()
    start = _time(valid_from, now)
    with closing(open_for_writing(settings)) as engine:
        held = version_at(versions(engine), start) if add else None
        whole = stored_set(engine, held).with_documents(policies) if held else policies
        loaded = load_set(engine, settled(whole, settings.policies), start, now)
    if as_json:
        _write(_document(loaded) | {"skipped": dict(policies.skipped)})
        return
    state = "valid from" if loaded.changed else "unchanged, valid since"
    lines = [f"{many(loaded.documents, 'document')}, {state} {loaded.valid_from:%Y-%m-%d %H:%M:%S}"]
    write([*lines, *skipped_lines(policies.skipped)])


def sets_(
    ctx: typer.Context, as_json: JsonOption = False, store: StoreOption = None, config: ConfigOption = None
) -> None:
    """List the sets of policies in the store, in the order in which they hold."""
    settings = settings_of(ctx, store, config)
    with closing(open_for_reading(settings)) as engine:
        found = versions(engine)
        documents = sizes(engine)
    if as_json:
        _write({"sets": [one.to_document() | {"documents": documents.get(one.key, 0)} for one in found]})
    else:
        print_sets(found, documents, SystemClock().now())


def unload_(
    ctx: typer.Context,
    valid_from: Annotated[
        str | None,
        typer.Option("--valid-from", metavar="TIME", help="from when on none hold: RFC 3339, or relative [now]"),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """End what holds: from now on, or from another time, no policies hold until the next set does."""
    settings = settings_of(ctx, store, config)
    now = SystemClock().now()
    start = _time(valid_from, now)
    with closing(open_for_writing(settings, must_exist=True)) as engine:
        ended = load_set(engine, PolicySet(), start, now)
    if as_json:
        _write(_document(ended))
    else:
        state = "no policies hold from" if ended.changed else "unchanged, none hold since"
        write([f"{state} {ended.valid_from:%Y-%m-%d %H:%M:%S}"])


def _time(text: str | None, now: datetime) -> datetime:
    return now if text is None else parse_time(text, now)


def _document(loaded: Loaded) -> dict[str, object]:
    return {
        "set": loaded.set_id,
        "valid_from": rfc3339(loaded.valid_from),
        "documents": loaded.documents,
        "changed": loaded.changed,
    }


def _write(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
