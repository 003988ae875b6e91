"""A service that is let in by MSK IAM and may not do everything: ACLs as they are missing, and given."""

from __future__ import annotations

from tests.security.expect import Service
from tests.security.world import World, aws, keys_of
from tests.support.apps import committed, produce, read_all, until


async def check_iam_a_listener_reads_and_a_template_sends(world: World) -> None:
    source = world.topic("orders", readers={"billing": "billing"})
    target = world.topic("invoices", writers=("billing",))
    world.topic("orders-billing-dlt", writers=("billing",))

    with aws(**keys_of(world.identity("billing", is_temporary=True))):
        service = Service(world.msk_iam(), "billing", source, target)
        produce(world.kafka, source, [(b"a", "one"), (b"b", "two")])
        async with service.running():
            await service.has_handled("one", "two")
            await until(lambda: committed(world.kafka, "billing", source) == {0: 2}, what="both committed")

    assert len(read_all(world.kafka, target)) == 2, "not both were sent on"


async def check_iam_a_denied_topic_is_told_and_nothing_of_it_is_lost(world: World) -> None:
    topic = world.topic("denied")
    world.topic("denied-clerk-dlt", writers=("clerk",))
    produce(world.kafka, topic, [(b"a", "one"), (b"b", "two")])

    with aws(**keys_of(world.identity("clerk"))):
        service = Service(world.msk_iam(), "clerk", topic)
        async with service.running():
            await service.is_unready("topic 'denied'", "may not see it", "grant DESCRIBE and READ")
            world.may_read("clerk", topic, "clerk")
            await service.has_handled("one", "two")
            await service.is_ready()


async def check_iam_a_denied_group_is_told_and_nothing_is_lost(world: World) -> None:
    topic = world.topic("grouped")
    world.topic("grouped-outsider-dlt", writers=("outsider",))
    world.may_read("outsider", topic, "another-group")
    produce(world.kafka, topic, [(b"a", "one")])

    with aws(**keys_of(world.identity("outsider"))):
        service = Service(world.msk_iam(), "outsider", topic)
        async with service.running():
            await service.is_unready("on the group", "grant READ")
            world.may_read("outsider", topic, "outsider")
            await service.has_handled("one")
            await service.is_ready()


async def check_iam_a_denied_dead_letter_topic_stops_its_partition_until_it_is_allowed(world: World) -> None:
    topic = world.topic("guarded", readers={"auditor": "auditor"})
    letters = world.topic("guarded-auditor-dlt", readers={"auditor": "auditor"})
    produce(world.kafka, topic, [(b"a", "poison"), (b"a", "sound")])

    with aws(**keys_of(world.identity("auditor"))):
        service = Service(world.msk_iam(), "auditor", topic)
        async with service.running():
            await service.is_unready("guarded-0", letters, "grant this user WRITE")
            stood_at = committed(world.kafka, "auditor", topic).get(0, 0)
            world.may_write("auditor", letters)
            await until(lambda: committed(world.kafka, "auditor", topic).get(0) == 2, what="it goes on")
            await service.is_ready()

    assert stood_at == 0, f"it had committed {stood_at}"
    assert service.handled == ["sound"], f"handled {service.handled}"
    (letter,) = read_all(world.kafka, letters)
    assert letter.value() == b"poison", f"{letter.value()!r}"
