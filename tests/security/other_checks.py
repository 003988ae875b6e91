"""TLS, certificates of ours, SCRAM and OAuth client credentials, good and bad."""

from __future__ import annotations

from confluent_kafka.admin import AclOperation

from tests.security.expect import is_let_in, is_refused
from tests.security.world import World
from tests.support.certificates import Signed
from tests.support.guarded_kafka import PASSWORD


def _shown(files: Signed) -> dict[str, str]:
    return {"KAFKA_CERTIFICATE_FILE": str(files.certificate), "KAFKA_KEY_FILE": str(files.key)}


async def check_tls_with_the_right_authority(world: World) -> None:
    topic = world.topic("tls")
    world.kafka.allow("ANONYMOUS", AclOperation.DESCRIBE, topic)

    await is_let_in(world.settings("TLS", "tls"), topic)


async def check_tls_with_a_wrong_authority_is_refused_by_us(world: World) -> None:
    wrong = world.settings("TLS", "tls", KAFKA_CA_FILE=str(world.others.file))

    await is_refused(wrong, "certificate verify failed", "KAFKA_CA_FILE")


async def check_tls_of_a_broker_with_another_name_is_refused_by_us(world: World) -> None:
    await is_refused(world.settings("ELSEWHERE", "tls"), "certificate verify failed", "hold for the names in")


async def check_mtls_with_a_certificate_of_the_authority(world: World) -> None:
    topic = world.topic("mtls")
    world.kafka.allow("CN=orders", AclOperation.DESCRIBE, topic)

    await is_let_in(world.settings("MTLS", "mtls", **_shown(world.authority.sign("orders"))), topic)


async def check_mtls_without_a_certificate_is_refused(world: World) -> None:
    await is_refused(world.settings("MTLS", "tls"), "alert", "for mtls KAFKA_CERTIFICATE_FILE")


async def check_mtls_with_a_certificate_of_another_authority_is_refused(world: World) -> None:
    stranger = world.settings("MTLS", "mtls", **_shown(world.others.sign("stranger")))

    await is_refused(stranger, "alert", "KAFKA_CERTIFICATE_FILE")


async def check_scram_with_the_right_password(world: World) -> None:
    topic = world.topic("scram")
    world.kafka.add_user("bob")
    world.kafka.allow("bob", AclOperation.DESCRIBE, topic)

    await is_let_in(world.settings("SCRAM", "scram", KAFKA_USERNAME="bob", KAFKA_PASSWORD=PASSWORD), topic)


async def check_scram_with_a_wrong_password_is_refused(world: World) -> None:
    world.kafka.add_user("carol")
    wrong = world.settings(
        "SCRAM", "scram", KAFKA_USERNAME="carol", KAFKA_PASSWORD=world.secret("not-carols-password")
    )

    await is_refused(wrong, "invalid credentials", "KAFKA_USERNAME, KAFKA_PASSWORD")


def _oauth(world: World, secret: str) -> dict[str, str]:
    return {
        "KAFKA_OAUTH_TOKEN_URL": f"{world.outside.url}/token",
        "KAFKA_OAUTH_CLIENT_ID": "service",
        "KAFKA_OAUTH_CLIENT_SECRET": world.secret(secret),
    }


async def check_oauth_client_credentials(world: World) -> None:
    topic = world.topic("oauth")
    world.kafka.allow("service", AclOperation.DESCRIBE, topic)
    world.outside.clients["service"] = "the-secret-of-service"

    await is_let_in(world.settings("OIDC", "oauth", **_oauth(world, "the-secret-of-service")), topic)


async def check_oauth_with_a_wrong_client_secret_is_refused(world: World) -> None:
    world.outside.clients["service"] = "the-secret-of-service"

    await is_refused(
        world.settings("OIDC", "oauth", **_oauth(world, "not-the-secret-of-service")),
        "invalid_client",
        "KAFKA_OAUTH_CLIENT_SECRET",
    )
