"""init, doctor, audit verify: the hospital's folder itself."""

from __future__ import annotations

import sys

import typer

from .common import Home, Json, emit, say

ABOUT = ("case", "reading", "by", "why", "modality", "writer", "task", "status", "source")

audit_app = typer.Typer(no_args_is_help=True, help="The audit log: list, verify.")


def add_to(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(doctor)
    app.add_typer(audit_app, name="audit")


def init(home: Home = None) -> None:
    """Write a commented site.toml into the hospital's folder (never over an existing one)."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        say(str(hospital.init()))


def doctor(as_json: Json = False, home: Home = None) -> None:
    """Say what is installed, which models are usable here, and what to do about the rest."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        facts = hospital.doctor()
    for fact in facts:
        if as_json:
            emit(what=fact.what, ok=fact.ok, detail=fact.detail, do=fact.do)
        else:
            say(
                f"{'ok' if fact.ok else '--'}  {fact.what}: {fact.detail}"
                + (f"\n      do: {fact.do}" if fact.do else "")
            )


@audit_app.command("list")
def list_entries(as_json: Json = False, home: Home = None) -> None:
    """Print the audit log, oldest entry first: who did what, when. Surrogate ids only."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        for entry in hospital.audit_entries():
            if as_json:
                emit(entry=entry)
            else:
                kept = " ".join(map(str, entry.get("keeps", {}).values()))
                about = [f"{k} {v}" for k, v in entry.items() if k in ABOUT and v is not None]
                say(f"{entry['seq']:>6}  {entry['time']}  {entry['event']:16}  {kept} {', '.join(about)}".rstrip())


@audit_app.command()
def verify(as_json: Json = False, home: Home = None) -> None:
    """Prove that the audit log is whole; exit 1 and name the first bad entry if it is not."""
    from ..api import Hospital
    from ..errors import AuditBroken

    with Hospital(home) as hospital:
        try:
            entries = hospital.verify_audit()
        except AuditBroken as broken:
            if as_json:
                emit(ok=False, error={"seen": broken.seen, "allowed": broken.allowed, "do": broken.do})
            else:
                say(f"{broken.seen}; {broken.do}")
            sys.exit(1)
    if as_json:
        emit(ok=True, entries=entries)
    else:
        say(f"the audit log is whole: {entries} entries")
