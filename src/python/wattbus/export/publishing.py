"""Publishing reports: what would leave is told in full first, then one pull request holds it, or nothing does.

The open data set takes reports as JSON files by pull request (https://github.com/Boavizta/BoAmps/issues/31).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wattbus.errors import BadRequest, BadSettings, Refused
from wattbus.export.boamps_status import CORRECTIVE, CORRECTS, FINAL, digest_of, status_of
from wattbus.export.report_files import read_document
from wattbus.export.signing import Verdict, verify
from wattbus.home import Home, write_durably

DATASET = "boavizta/open_data_boamps"
FOLDER = "data"
PUBLIC = "public"


class Destination(Protocol):
    """Where reports are published."""

    page: str

    def account(self) -> str: ...

    def already_there(self, paths: list[str]) -> list[str]: ...

    def open_pull_request(self, files: dict[str, bytes], title: str, description: str) -> Any: ...


@dataclass(frozen=True)
class Leaving:
    """One file that would leave: from where, to which path there, and what of it is worth a look."""

    file: Path
    path: str
    size_bytes: int
    report_id: str
    status: str
    signature: str
    task: str
    publisher: str
    data: bytes
    digest: str


@dataclass(frozen=True)
class Publication:
    """All that would leave, and as whom."""

    page: str
    account: str
    files: tuple[Leaving, ...]

    @property
    def title(self) -> str:
        first = self.files[0].task
        return f"Add {len(self.files)} BoAmps report{'s' if len(self.files) > 1 else ''}: {first}"[:200]

    @property
    def description(self) -> str:
        return "\n".join(
            f"- `{one.path}`: {one.task}, {one.status}, signature {one.signature}" for one in self.files
        )


def plan(
    files: Sequence[Path],
    home: Home,
    destination: Destination,
    known_keys: Sequence[str],
    *,
    folder: str = FOLDER,
) -> Publication:
    """Check every file and return what would leave; nothing has left yet but the question who asks.

    Raises Refused for a draft, a report that is not public, one that was changed after it was signed, and one that
    was published before.
    """
    if not files:
        raise BadRequest("nothing is published: name the files, as `wattbus boamps ls` shows them.")
    if len(set(files)) != len(files):
        raise BadRequest("a file is named twice.")
    leaving = tuple(_leaving(file, folder, known_keys) for file in files)
    before = published(home)
    for one in leaving:
        if one.digest in before:
            raise Refused(
                f"{one.file.name} was published before: {before[one.digest]}. Nothing was published."
            )
    account = destination.account()
    there = destination.already_there([one.path for one in leaving])
    if there:
        raise Refused(f"{', '.join(there)} is in {destination.page} already. Nothing was published.")
    return Publication(destination.page, account, leaving)


def publish(publication: Publication, home: Home, destination: Destination) -> Any:
    """Open the pull request, and remember what was published."""
    opened = destination.open_pull_request(
        {one.path: one.data for one in publication.files}, publication.title, publication.description
    )
    remembered = published(home) | {one.digest: opened.url for one in publication.files}
    try:
        write_durably(home.published_file, json.dumps(remembered, indent=1).encode())
    except OSError as error:
        raise BadSettings(
            f"the pull request {opened.url} is open, and {home.published_file} could not be written "
            f"({error.strerror}): do not publish the same once more."
        ) from error
    return opened


def published(home: Home) -> dict[str, str]:
    """Return the digest of each report that was published from this home, with its pull request."""
    try:
        found = json.loads(home.published_file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(
            f"{home.published_file}, which says what was published, cannot be read ({error}): put it right first."
        ) from error
    return {str(digest): str(url) for digest, url in found.items()}


def _leaving(file: Path, folder: str, known_keys: Sequence[str]) -> Leaving:
    document = read_document(file)
    status = status_of(document)
    if status not in (FINAL, CORRECTIVE):
        raise Refused(
            f"{file.name} is a {status}: make it final first, with `wattbus boamps final {file.name}`. "
            "Nothing was published."
        )
    publisher = document["header"].get("publisher", {})
    level = publisher.get("confidentialityLevel")
    if level != PUBLIC:
        raise Refused(
            f"{file.name} is {level or 'of no stated confidentiality'}: only public reports are published. If it may "
            f"be public, `wattbus boamps correct {file.name} --set header.publisher.confidentialityLevel=public "
            "--because ...` makes one that is; confidentiality in organisation.toml says it for the next ones. "
            "Nothing was published."
        )
    verified = verify(document, known_keys)
    if verified.verdict is Verdict.CHANGED:
        raise Refused(f"{file.name}: {verified.text} Nothing was published.")
    if status == CORRECTIVE and CORRECTS not in document:
        raise Refused(f"{file.name} is corrective and does not say what it corrects. Nothing was published.")
    data = file.read_bytes()
    report_id = str(document["header"].get("reportId", file.stem))
    task = document["task"]
    names = [
        str(one.get("foundationModelName") or one.get("algorithmName") or "") for one in task["algorithms"]
    ]
    about = f"{task['taskStage']} of {task['taskFamily']}" + (f" by {names[0]}" if names[0] else "")
    return Leaving(
        file, f"{folder.strip('/')}/boamps-{report_id}.json", len(data), report_id, status,
        str(verified.verdict), about, str(publisher.get("name", "")), data, digest_of(document),
    )  # fmt: skip
