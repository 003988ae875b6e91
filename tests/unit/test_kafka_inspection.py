from __future__ import annotations

from ottla.kafka.inspection import told_brokers

RESOLVE = "kafka-0.invalid:9092/1: Failed to resolve 'kafka-0.invalid:9092': Name or service not known"
REFUSED = "sasl_ssl://[::1]:9093/12: Connect to ipv6#[::1]:9093 failed: Connection refused"
BOOTSTRAP = "localhost:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused"


def test_brokers_that_another_has_told_are_known_by_the_errors_about_them() -> None:
    assert told_brokers([RESOLVE, "0/2 brokers are down", REFUSED, BOOTSTRAP, RESOLVE]) == {
        1: "kafka-0.invalid:9092",
        12: "[::1]:9093",
    }


def test_where_no_broker_has_answered_none_is_known() -> None:
    assert told_brokers([BOOTSTRAP, "1/1 brokers are down"]) == {}
