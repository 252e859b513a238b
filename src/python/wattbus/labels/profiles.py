"""The profiles that can be graded with: those that come with wattbus, and those that were saved."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from wattbus.errors import BadRequest, UnknownName
from wattbus.labels.builtin import BUILT_IN, BUILT_IN_VERSION
from wattbus.labels.profile import LabelProfile, profile_from
from wattbus.store.documents import Document, document, document_versions, list_documents, save_document

KIND = "label-profile"


@dataclass(frozen=True)
class KeptProfile:
    """One version of a profile."""

    profile: LabelProfile
    version: int
    built_in: bool
    made_us: int | None = None
    made_by: str = ""

    @property
    def title(self) -> str:
        """Return its name and version, as a label prints it."""
        return f"{self.profile.name}@{self.version}"


def list_profiles(engine: Engine | None) -> list[KeptProfile]:
    """Return the newest version of each profile, the built-in ones first; without a store, those alone."""
    saved = [] if engine is None else [_kept(one) for one in list_documents(engine, KIND)]
    return [*(KeptProfile(one, BUILT_IN_VERSION, built_in=True) for one in BUILT_IN.values()), *saved]


def get_profile(engine: Engine | None, name: str, version: int | None = None) -> KeptProfile:
    """Return a profile by its name, the newest version or the one that is asked for."""
    if name in BUILT_IN:
        if version not in (None, BUILT_IN_VERSION):
            raise UnknownName(f"version of the profile {name!r}", version, [str(BUILT_IN_VERSION)])
        return KeptProfile(BUILT_IN[name], BUILT_IN_VERSION, built_in=True)
    known = [one.profile.name for one in list_profiles(engine)]
    if engine is None or name not in known:
        raise UnknownName("label profile", name, known, "`wattbus label profiles` lists them.")
    return _kept(document(engine, KIND, name, version))


def profile_versions(engine: Engine | None, name: str) -> list[KeptProfile]:
    """Return all versions of a profile, the newest first."""
    if name in BUILT_IN or engine is None:
        return [get_profile(engine, name)]
    return [_kept(one) for one in document_versions(engine, KIND, name)]


def check_name(name: str) -> None:
    """Refuse the name of a built-in profile."""
    if name.lower() in BUILT_IN:
        raise BadRequest(f"{name} comes with wattbus and stays as it is: save yours under a name of its own.")


def save_profile(engine: Engine, profile: LabelProfile, by: str) -> KeptProfile:
    """Keep a profile as the next version of its name."""
    check_name(profile.name)
    return _kept(save_document(engine, KIND, profile.name, profile.model_dump(mode="json"), by))


def _kept(one: Document) -> KeptProfile:
    return KeptProfile(profile_from(one.content), one.version, False, one.made_us, one.made_by)
