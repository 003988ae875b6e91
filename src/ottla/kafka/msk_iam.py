"""Tokens for Amazon MSK's IAM: signed with the credentials that AWS's own chain finds.

Rules of this file:

- librdkafka asks on a thread of its own, also for clients that are idle, when four fifths of a token's
  life are over. An exception or None there fails the client that is being made, and has ended processes:
  every question is answered.
- No question waits longer than `_WAIT_S`: a client that has no token after 10 s cannot be made.
  What may hang (name service, STS, a credentials endpoint) runs on a thread of its own.
- Where no token can be had the answer is one that brokers refuse, and the next question comes soon. So
  clients live, say that they are refused, and go on by themselves once there are credentials again.
- Clients of one region share their tokens: a process asks AWS once for all of them.
- Neither tokens nor credentials stand in what is said.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import Any, NamedTuple

_log = logging.getLogger("ottla.msk_iam")
_THREAD = "msk-iam"
logging.getLogger("botocore.credentials").addFilter(lambda record: record.threadName != _THREAD)
"""What fails on our thread is told by us, in a line; botocore adds a stack at every attempt."""

NO_TOKEN = "no-token"  # noqa: S105  (what is said where there is none)
_WAIT_S = 5.0
_ASK_AGAIN_S = 5.0
"""How soon librdkafka shall ask again where no new token could be had."""
_SHOWN = 300


class Token(NamedTuple):
    """A signed token; times in seconds since the epoch."""

    text: str
    signed_at: float
    expires_at: float


def is_young(token: Token | None, now: float) -> bool:
    """Whether a client that asks may have it: clients ask at different times, and too late for none."""
    return token is not None and now < (token.signed_at + token.expires_at) / 2


def answer(token: Token | None, now: float, *, is_current: bool) -> tuple[str, float]:
    """What librdkafka is told: a token, and until when it holds.

    One that could not be renewed (not `is_current`) is used to its end, and asked for again soon.
    """
    if token is None or token.expires_at <= now:
        return NO_TOKEN, now + _ASK_AGAIN_S
    return token.text, token.expires_at if is_current else min(token.expires_at, now + _ASK_AGAIN_S)


class MskTokens:
    """The tokens of one region, for all clients of the process; opens nothing before it is asked.

    An object of it is a client's `oauth_cb`. Threads may share it.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._is_renewed: threading.Event | None = None
        self._trouble: str | None = None
        self._kind = ""
        self._session: Any = None

    def __str__(self) -> str:
        return f"tokens of AWS IAM for {self._region}"

    def __call__(self, _config: str) -> tuple[str, float]:
        """As librdkafka's `oauthbearer_token_refresh_cb`: a token, and when it expires."""
        renewal = self._renewal()
        is_late = renewal is not None and not renewal.wait(_WAIT_S)
        if is_late and self._trouble is None:  # else the last attempt has told more
            self._say("silence", f"AWS's credentials chain has not answered for {_WAIT_S:g} s")
        now = time.time()
        return answer(self._token, now, is_current=is_young(self._token, now))

    def trouble(self) -> str | None:
        """Why there is no new token, and what to do; None while there is."""
        return self._trouble

    def cure(self) -> str:
        """What to do where brokers refuse a token."""
        return (
            "the brokers do not take these AWS credentials: check that they hold, that their policy allows "
            f"kafka-cluster:Connect on this cluster, that it is in {self._region} (KAFKA_AWS_REGION), "
            "and this machine's clock"
        )

    def _renewal(self) -> threading.Event | None:
        """The renewal that is under way, begun if need be; None where the token is good enough."""
        with self._lock:
            if is_young(self._token, time.time()):
                return None
            if self._is_renewed is None:
                self._is_renewed = threading.Event()
                threading.Thread(
                    target=self._renew, args=(self._is_renewed,), name=_THREAD, daemon=True
                ).start()
            return self._is_renewed

    def _renew(self, is_renewed: threading.Event) -> None:
        try:
            token = self._signed()
        except Exception as error:  # noqa: BLE001  (for the client's callback: whatever AWS's providers raise is told, and asked again)
            self._session = None
            self._say(_kind(error), _told(error))
        else:
            self._token = token
            if self._trouble is not None:
                self._trouble, self._kind = None, ""
                _log.info("MSK IAM: tokens can be signed again")
        finally:
            with self._lock:
                self._is_renewed = None
            is_renewed.set()

    def _signed(self) -> Token:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        from botocore.credentials import CredentialProvider, RefreshableCredentials

        session = self._session or _session(self._region)
        credentials = session.get_credentials()
        if credentials is None:
            raise _NoCredentials("AWS's chain finds no credentials")
        # What expires renews itself ahead of time, and bridges an STS that is away. Anything else is read
        # anew each time: a file may have changed.
        self._session = session if isinstance(credentials, RefreshableCredentials) else None

        class Frozen(CredentialProvider):  # type: ignore[misc]  # botocore has no types
            def load(self) -> Any:
                return credentials.get_frozen_credentials()

        text, expires_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(
            self._region, Frozen()
        )
        expires_at = expires_ms / 1000
        if isinstance(credentials, RefreshableCredentials):
            ends = credentials._expiry_time  # noqa: SLF001  (nothing else tells it)
            expires_at = min(expires_at, ends.timestamp())
        return Token(text, time.time(), expires_at)

    def _say(self, kind: str, what: str) -> None:
        """Once per kind of trouble: words may tell the time, and who is refused meanwhile says it too."""
        if kind != self._kind:
            self._kind, self._trouble = kind, f"no token for MSK IAM: {what}; {_CHAIN}"
            _log.error("%s; asked again every few seconds", self._trouble)


@functools.cache
def msk_tokens(region: str) -> MskTokens:
    """The tokens of `region` in this process."""
    return MskTokens(region)


class _NoCredentials(Exception):
    """Nothing in AWS's chain."""


_CHAIN = (
    "check what the process is given: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (EKS), task role (ECS) or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; and that STS or the credentials endpoint can be reached"
)


def _session(region: str) -> Any:
    """AWS's chain with bounds: its own are minutes."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    if session.get_config_variable("region") is None:  # else STS is asked in us-east-1
        session.set_config_variable("region", region)
    session.set_default_client_config(
        Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 2})
    )
    return session


def _kind(error: Exception) -> str:
    """Of STS's own errors their code, else the class."""
    told: dict[str, Any] = getattr(error, "response", None) or {}
    return f"{type(error).__name__} {told.get('Error', {}).get('Code', '')}"


def _told(error: Exception) -> str:
    """What went wrong in a line. Of what is not AWS's own the class alone: its words could quote."""
    from botocore.exceptions import BotoCoreError, ClientError

    if not isinstance(error, BotoCoreError | ClientError | OSError | _NoCredentials):
        return type(error).__name__
    said = " ".join(str(error).split())
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
