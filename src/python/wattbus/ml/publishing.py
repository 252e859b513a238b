"""A pull request on a data set of the Hub: all files in one commit, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wattbus.errors import BadRequest, Refused, RequestFailed
from wattbus.ml.hub import within
from wattbus.ml.sources import PUBLIC_HUB

ASK_SECONDS = 30.0
COMMIT_SECONDS = 90.0


@dataclass(frozen=True)
class PullRequest:
    """What was opened."""

    url: str
    commit: str


class DatasetHub:
    """One data set on one Hub, as one account; each call has a deadline."""

    def __init__(
        self,
        dataset: str,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        ask_seconds: float = ASK_SECONDS,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        self.dataset = dataset
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
        self.page = f"{self.endpoint}/datasets/{dataset}"
        self._token = token
        self._ask_seconds, self._commit_seconds = ask_seconds, commit_seconds

    def account(self) -> str:
        """Return the name of the account that the token belongs to."""
        found = self._asked(self._ask_seconds, lambda api: api.whoami(), "asked for the account")
        return str(found["name"])

    def already_there(self, paths: list[str]) -> list[str]:
        """Return those of ``paths`` that the data set holds."""
        found = self._asked(
            self._ask_seconds,
            lambda api: api.get_paths_info(self.dataset, paths, repo_type="dataset"),
            "asked for its files",
        )
        return [entry.path for entry in found]

    def open_pull_request(self, files: Mapping[str, bytes], title: str, description: str) -> PullRequest:
        """Open a pull request that adds ``files``, by their paths there."""
        from huggingface_hub import CommitOperationAdd

        additions = [CommitOperationAdd(path, data) for path, data in files.items()]

        def commit(api: Any) -> Any:
            return api.create_commit(
                self.dataset,
                additions,
                commit_message=title,
                commit_description=description,
                repo_type="dataset",
                create_pr=True,
            )

        made = self._asked(
            self._commit_seconds,
            commit,
            "sent the files",
            unsure=f" Whether a pull request was opened is not known: look at {self.page}/discussions first.",
        )
        if made.pr_url is None:
            raise RequestFailed(f"{self.endpoint} opened no pull request: it holds these files already.")
        return PullRequest(made.pr_url, made.oid)

    def _asked(self, seconds: float, ask: Callable[[Any], Any], what: str, *, unsure: str = "") -> Any:
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            HfHubHTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
        )

        token = _token(self._token)
        # Without its own header, huggingface_hub reports the versions of what is installed.
        api = HfApi(endpoint=self.endpoint, token=token, headers={"user-agent": "wattbus"})
        nothing = "Nothing was published."
        try:
            return within(seconds, lambda: ask(api))
        except RepositoryNotFoundError:
            raise BadRequest(
                f"there is no data set {self.dataset} on {self.endpoint}, or the account may not see it. {nothing}"
            ) from None
        except HfHubHTTPError as error:
            raise RequestFailed(f"{self._said(error, what)} {nothing}") from None
        except (httpx2.TimeoutException, TimeoutError):
            raise RequestFailed(
                f"{self.endpoint} gave no answer within {seconds:g} s when it was {what}.{unsure or ' ' + nothing}"
            ) from None
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            lost = isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError)
            raise RequestFailed(
                f"{self.endpoint} cannot be reached ({type(error).__name__}) when it is {what}."
                + (unsure if lost and unsure else f" {nothing}")
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestFailed(
                f"{self.endpoint} did not answer like a Hub when it was {what} ({type(error).__name__}): is there a "
                f"log-in page or a proxy in between? {nothing}"
            ) from None

    def _said(self, error: Any, what: str) -> str:
        status = error.response.status_code
        cures = {
            401: "the token is not valid: make a new one on the Hub, and set HF_TOKEN",
            403: "the account may not do that: its token needs the right to write, also to open pull requests",
            404: "it has no such place",
            409: "somebody else wrote at the same time: try again",
            413: "the files are too large",
            429: "it was asked too often: try again later",
        }
        cure = cures.get(status, "try again later" if status >= 500 else "it refused")
        return f"{self.endpoint} answered {status} when it was {what}: {cure}."


def _token(given: str | None) -> str:
    from huggingface_hub import get_token

    token = given or get_token()
    if not token:
        raise Refused(
            "publishing needs a token of the Hub with the right to write: make one at "
            "https://huggingface.co/settings/tokens and set HF_TOKEN. Nothing was published."
        )
    return token
