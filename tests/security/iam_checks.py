"""MSK IAM: three sources of credentials, what is refused, tokens that end, and AWS away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.msk_iam import msk_tokens
from ottla.kafka.properties import client_properties
from tests.security.expect import Beat, Service, is_let_in, is_refused
from tests.security.sts import silent, sts
from tests.security.world import REGION, ROLE, World, aws, keys_of
from tests.support.apps import produce, read_all, until

_SHORT_S = 20
"""The life of a token where several must end. Real ones live 900 s.

librdkafka asks for the next one when four fifths are over, give or take a second, and authenticates anew
at nine tenths: in lives much shorter than this the old one would be shown again, which brokers refuse.
"""


def web_identity(world: World, url: str) -> dict[str, str]:
    """What EKS gives a pod whose service account has a role."""
    file = world.folder / "web-identity-token"
    file.write_text(world.secret("eyJ.of-the-service-account.sig"))
    return {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_REGION": REGION,
    }


@contextmanager
def short_tokens(life_s: int) -> Iterator[None]:
    """AWS's signer signs for a few seconds; brokers hold it to that."""
    before = MSKAuthTokenProvider.DEFAULT_TOKEN_EXPIRY_SECONDS
    MSKAuthTokenProvider.DEFAULT_TOKEN_EXPIRY_SECONDS = life_s
    try:
        yield
    finally:
        MSKAuthTokenProvider.DEFAULT_TOKEN_EXPIRY_SECONDS = before


async def check_iam_credentials_of_the_environment(world: World) -> None:
    topic = world.topic("env", readers={"alice": "env"})

    with aws(**keys_of(world.identity("alice"))):
        await is_let_in(world.msk_iam(), topic)


async def check_iam_temporary_credentials_with_a_session_token(world: World) -> None:
    topic = world.topic("temporary", readers={"alice": "temporary"})

    with aws(**keys_of(world.identity("alice", is_temporary=True))):
        await is_let_in(world.msk_iam(), topic)


async def check_iam_by_the_role_of_a_service_account(world: World) -> None:
    topic = world.topic("irsa", readers={ROLE: "irsa"})

    with sts(world) as url, aws(**web_identity(world, url)):
        await is_let_in(world.msk_iam(), topic)


async def check_iam_by_the_task_role_of_ecs(world: World) -> None:
    topic = world.topic("ecs", readers={"task": "ecs"})
    world.outside.task_role = world.identity("task", is_temporary=True)
    endpoint = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{world.outside.url}/task-role"}

    with aws(**endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN=world.outside.authorization):
        await is_let_in(world.msk_iam(), topic)
    with aws(**endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN="Basic of-another-task"):
        await is_refused(world.msk_iam(), "401", "task role (ECS)")


async def check_iam_a_wrong_secret_is_refused_and_told(world: World) -> None:
    known = world.identity("alice")
    wrong = known._replace(secret_key=world.secret("not-the-secret-of-alice"))

    with aws(**keys_of(wrong)):
        await is_refused(world.msk_iam(), "the signature does not match", "kafka-cluster:Connect", "clock")


async def check_iam_a_token_for_another_region_is_refused(world: World) -> None:
    with aws(**keys_of(world.identity("alice"))):
        await is_refused(
            world.msk_iam(KAFKA_AWS_REGION="us-east-1"), "another host", "us-east-1 (KAFKA_AWS_REGION)"
        )


async def check_iam_an_expired_token_is_refused(world: World) -> None:
    with aws(**keys_of(world.identity("alice"))), short_tokens(1):
        token, expires_s = msk_tokens(REGION)("")
        await until(lambda: time.time() > expires_s, what="it has expired")

        said = await is_refused(world.msk_iam(), "expired", oauth_cb=lambda _: (token, time.time() + 60))

    assert token not in said, "the token was told"


async def check_iam_without_credentials_a_service_waits_for_them(world: World) -> None:
    topic = world.topic("waits", readers={"alice": "waits"})
    world.topic("waits-waits-dlt", writers=("alice",))
    service = Service(world.msk_iam(), "waits", topic)

    with aws():
        async with service.running():
            said = await service.is_unready("no token for MSK IAM", "finds no credentials", "AWS_ROLE_ARN")
            lines = [line for line in world.said if "finds no credentials" in line and "asked again" in line]
            with aws(**keys_of(world.identity("alice"))):
                await service.is_ready()
                produce(world.kafka, topic, [(b"k", "one")])
                await service.has_handled("one")

    assert "sasl_ssl" not in said, f"what the brokers think of no token is no news: {said}"
    assert len(lines) == 1, f"said {len(lines)} times"


async def check_iam_an_sts_that_hangs_and_comes_back_holds_up_nothing_else(world: World) -> None:
    topic = world.topic("hangs", readers={ROLE: "hangs"})
    world.topic("hangs-hangs-dlt", writers=(ROLE,))
    service = Service(world.msk_iam(), "hangs", topic)

    with silent() as (url, port), aws(**web_identity(world, url)):
        async with Beat() as beat, service.running():
            await service.is_unready("no token for MSK IAM", "STS")
            stood_s = beat.longest_s
            with sts(world) as there, aws(**web_identity(world, there)):
                await service.is_ready()
        assert port

    assert stood_s < 1, f"the event loop stood still for {stood_s:.1f} s"


async def check_iam_tokens_are_renewed_for_idle_clients(world: World) -> None:
    source = world.topic("idle", readers={"alice": "idle"})
    target = world.topic("idle-copies", writers=("alice",))
    world.topic("idle-idle-dlt", writers=("alice",))
    alice = world.identity("alice")
    unready: set[str] = set()

    with aws(**keys_of(alice)), short_tokens(_SHORT_S):
        settings = world.msk_iam()
        service = Service(settings, "idle", source, target)
        admin = KafkaAdmin(client_properties(settings))
        async with service.running():
            await service.is_ready()
            produce(world.kafka, source, [(b"k", "before")])
            await service.has_handled("before")
            over = time.monotonic() + 2 * _SHORT_S

            def is_over() -> bool:
                unready.update(service.app.unready().values())
                return time.monotonic() > over

            await until(is_over, what="two lives of a token have passed", within_s=3 * _SHORT_S)
            await service.app.template.send(target, "by a producer that was idle")
            produce(world.kafka, source, [(b"k", "after")])
            await service.has_handled("before", "after")
            found = await admin.partitions([source])

    assert not unready, f"it was unready meanwhile: {unready}"
    assert found == {source: 1}, f"{found}"
    assert len(world.outside.dates[alice.access_key]) >= 3, f"{world.outside.dates[alice.access_key]}"
    sent = sorted(message.value() or b"" for message in read_all(world.kafka, target))
    assert sent == [b"after", b"before", b"by a producer that was idle"], f"{sent}"
