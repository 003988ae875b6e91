from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.topology import Naming
from ottla.errors import SettingsError
from ottla.settings import Security, load_settings, read_settings, variable_of
from ottla.settings.model import BY_VARIABLE, SETTINGS
from ottla.settings.rules import hosts, is_loopback, refusal

LOCAL = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ottla.toml of anybody's is in the way."""
    monkeypatch.chdir(tmp_path)


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(environ: dict[str, str], file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings("billing", environ=environ, file=file)
    return caught.value.problems


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load_settings("billing", environ=LOCAL)

    kafka = settings.kafka
    assert (kafka.group_id, kafka.security, kafka.start) == ("billing", Security.PLAINTEXT, "earliest")
    assert (kafka.group_protocol, kafka.assignor) == ("classic", "cooperative-sticky")
    assert (kafka.session_timeout_s, kafka.max_poll_interval_s, kafka.drain_s) == (45, 300, 25)
    assert (kafka.buffered_records, kafka.buffered_mb, kafka.window) == (10_000, 64, 100_000)
    assert (kafka.commit_records, kafka.commit_interval_s) == (5_000, 0.2)
    assert kafka.naming is Naming.PER_GROUP
    assert (settings.database_url, settings.database_connections) == (None, 8)
    assert (settings.database_schema, settings.dedup_window_days) == ("ottla", 7)
    assert settings.fail_fast is False
    assert (settings.admin_port, settings.admin_host) == (None, "127.0.0.1")


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, '[kafka]\nbootstrap_servers = "localhost:1"\ngroup_id = "of-file"\ndrain_s = 5\n')

    loaded = read_settings("billing", environ=LOCAL | {"KAFKA_GROUP_ID": "of-environment"}, file=file)

    kafka = loaded.settings.kafka
    assert (kafka.bootstrap_servers, kafka.group_id, kafka.drain_s) == ("localhost:9092", "of-environment", 5)
    assert loaded.origins["kafka", "group_id"] == "KAFKA_GROUP_ID"
    assert loaded.origins["kafka", "drain_s"] == f"{file}:kafka.drain_s"
    assert ("kafka", "window") not in loaded.origins


def test_the_file_is_the_given_one_or_the_named_one_or_ottla_toml_here(tmp_path: Path) -> None:
    (tmp_path / "ottla.toml").write_text('[kafka]\nbootstrap_servers = "localhost:1"\n')
    (tmp_path / "named.toml").write_text('[kafka]\nbootstrap_servers = "localhost:2"\n')
    (tmp_path / "given.toml").write_text('[kafka]\nbootstrap_servers = "localhost:3"\n')
    named = {"OTTLA_CONFIG": "named.toml"}

    here = load_settings(environ={})
    by_name = load_settings(environ=named)
    by_argument = load_settings(environ=named, file=Path("given.toml"))

    assert [s.kafka.bootstrap_servers[-1] for s in (here, by_name, by_argument)] == ["1", "2", "3"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "billing-0.billing.svc"])
def test_addresses_and_names_are_taken_for_the_host_of_the_admin_endpoint(host: str) -> None:
    settings = load_settings(environ=LOCAL | {"OTTLA_ADMIN_HOST": host, "OTTLA_ADMIN_PORT": "9090"})

    assert (settings.admin_host, settings.admin_port) == (host, 9090)


def test_without_brokers_the_error_says_that_there_is_no_default() -> None:
    (problem,) = problems({})

    assert problem.startswith("KAFKA_BOOTSTRAP_SERVERS (in TOML kafka.bootstrap_servers): not set")


def test_an_empty_variable_counts_as_unset() -> None:
    settings = load_settings("billing", environ=LOCAL | {"KAFKA_GROUP_ID": "", "KAFKA_DRAIN_S": ""})

    assert (settings.kafka.group_id, settings.kafka.drain_s) == ("billing", 25)


def test_all_problems_are_in_one_error_with_variable_key_and_cure(tmp_path: Path) -> None:
    file = toml(tmp_path, 'database_uri = "x"\n[kafka]\ndrain_s = 400\nassignor = "sticky"\n')

    found = problems(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "b1:9092",
            "DATABASE_CONNECTIONS": "many",
            "KAFKA_CA_FILE": "/no/such.pem",
        },
        file,
    )

    assert len(found) == 6
    for expected in (
        f"{file}: database_uri is no setting; did you mean database_url?",
        (
            "KAFKA_ASSIGNOR (in TOML kafka.assignor): should be 'cooperative-sticky', 'range' or "
            f"'roundrobin'; {file}:kafka.assignor has 'sticky'"
        ),
        (
            "DATABASE_CONNECTIONS (in TOML database_connections): should be a valid integer, "
            "unable to parse string as an integer; DATABASE_CONNECTIONS has 'many'"
        ),
        (
            "KAFKA_CA_FILE (in TOML kafka.ca_file): /no/such.pem cannot be read (No such file or directory); "
            "mend path or permissions"
        ),
    ):
        assert expected in found
    assert any(p.startswith("KAFKA_DRAIN_S") and "KAFKA_MAX_POLL_INTERVAL_S=300" in p for p in found)
    assert any(p.startswith("KAFKA_SECURITY") and "b1 is another machine" in p for p in found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[kafka\n", "is not valid TOML: .*line 1"),
        ("kafka = 5\n", r"kafka is no setting; it is a table: \[kafka\]"),
        ("[kafka]\ndrain = 5\n", r"did you mean kafka\.drain_s\?"),
        ('bootstrap_servers = "x"\n', r"did you mean kafka\.bootstrap_servers\?"),
        ("[kafka]\nxyzzy = 5\n", r"properties of librdkafka go into \[kafka\.client\]"),
        ("[billing]\nxyzzy = 5\n", "`ottla config` lists those there are"),
        ("topics = 5\n", "topics must be a table"),
        ('[topics]\norders.v1 = "x"\n', "quote a name that has dots"),
        ('[topics]\norders-v1 = "x"\n"Orders.v1" = "y"\n', "keep one"),
        ('[topics]\norders = "a/b"\n', r"TOPICS__ORDERS \(in TOML topics\.orders\): 'a/b': Kafka takes only"),
        ("[topics]\norders = 5\n", "TOPICS__ORDERS .*should be a valid string"),
        ('[kafka]\ngroup_id = ""\n', "KAFKA_GROUP_ID .*at least 1 character"),
        ("[kafka.client]\nx = [1]\n", r"kafka\.client\.x must be a string, a number or a boolean"),
        ("[kafka]\nclient = 5\n", r"must be a table: \[kafka\.client\]"),
        ("[kafka]\ndrain_s = inf\n", "KAFKA_DRAIN_S"),
        ("[kafka]\nsession_timeout_s = 301\n", "KAFKA_SESSION_TIMEOUT_S .*which librdkafka refuses"),
        ('database_schema = "a; drop"\n', "OTTLA|DATABASE_SCHEMA .*should match pattern"),
        ('database_url = "mysql://x"\n', "DATABASE_URL .*postgresql://user:password@host"),
        (
            "admin_port = 65536\n",
            r"OTTLA_ADMIN_PORT \(in TOML admin_port\): should be less than or equal to 65535",
        ),
        ("admin_port = -1\n", "OTTLA_ADMIN_PORT .*should be greater than or equal to 0"),
        ('admin_host = "0.0.0.0:9090"\n', "OTTLA_ADMIN_HOST .*without a port"),
        ('admin_host = ""\n', "OTTLA_ADMIN_HOST .*write an address or a name"),
    ],
)
def test_a_slip_in_the_file_is_named_with_its_cure(tmp_path: Path, text: str, why: str) -> None:
    file = toml(tmp_path, text)

    with pytest.raises(SettingsError, match=why):
        load_settings(environ=LOCAL, file=file)


def test_a_file_that_cannot_be_read_is_a_problem_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'group = "\xfc"\n')

    absent = problems({**LOCAL, "OTTLA_CONFIG": "absent.toml"})
    folder = problems(LOCAL, tmp_path)
    latin = problems(LOCAL, tmp_path / "latin.toml")

    assert absent == (
        (
            "absent.toml: cannot be read (No such file or directory); mend path or permissions, "
            "or unset OTTLA_CONFIG"
        ),
    )
    assert "Is a directory" in folder[0]
    assert "is not UTF-8" in latin[0]


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"KAFKA_SECURITY": "scram"}, ["KAFKA_USERNAME", "KAFKA_PASSWORD"]),
        ({"KAFKA_SECURITY": "scram", "KAFKA_USERNAME": "u"}, ["KAFKA_PASSWORD"]),
        ({"KAFKA_SECURITY": "mtls"}, ["KAFKA_CERTIFICATE_FILE", "KAFKA_KEY_FILE"]),
        (
            {"KAFKA_SECURITY": "oauth", "KAFKA_OAUTH_TOKEN_URL": "idp/token"},
            ["KAFKA_OAUTH_CLIENT_ID", "KAFKA_OAUTH_CLIENT_SECRET", "KAFKA_OAUTH_TOKEN_URL"],
        ),
        (
            {
                "KAFKA_SECURITY": "oauth",
                "KAFKA_OAUTH_TOKEN_URL": "http://idp.example/token",
                "KAFKA_OAUTH_CLIENT_ID": "c",
                "KAFKA_OAUTH_CLIENT_SECRET": "s",
            },
            ["KAFKA_OAUTH_TOKEN_URL"],
        ),
        ({"KAFKA_SECURITY": "msk-iam"}, ["KAFKA_AWS_REGION"]),
        ({"KAFKA_SECURITY": "msk-iam", "AWS_REGION": "eu west"}, ["KAFKA_AWS_REGION"]),
        ({"KAFKA_SECURITY": "SSL"}, ["KAFKA_SECURITY"]),
    ],
)
def test_what_a_way_of_security_needs_is_asked_for(environ: dict[str, str], why: list[str]) -> None:
    found = problems(LOCAL | environ)

    assert sorted(problem.split(" ")[0] for problem in found) == sorted(why)


REGISTRY = {"SCHEMA_REGISTRY_URL": "https://registry:8081"}


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"SCHEMA_REGISTRY_URL": "registry:8081"}, ["SCHEMA_REGISTRY_URL"]),
        ({"SCHEMA_REGISTRY_URL": "https://registry:x"}, ["SCHEMA_REGISTRY_URL"]),
        ({"SCHEMA_REGISTRY_URL": "https://a,ftp://b"}, ["SCHEMA_REGISTRY_URL"]),
        ({"SCHEMA_REGISTRY_AUTO_REGISTER": "true"}, ["SCHEMA_REGISTRY_AUTO_REGISTER"]),
        (REGISTRY | {"SCHEMA_REGISTRY_USERNAME": "u"}, ["SCHEMA_REGISTRY_USERNAME"]),
        (REGISTRY | {"SCHEMA_REGISTRY_PASSWORD": "p"}, ["SCHEMA_REGISTRY_USERNAME"]),
        (REGISTRY | {"SCHEMA_REGISTRY_KEY_PASSWORD": "p"}, ["SCHEMA_REGISTRY_KEY_PASSWORD"]),
        (REGISTRY | {"SCHEMA_REGISTRY_CA_FILE": "/nowhere"}, ["SCHEMA_REGISTRY_CA_FILE"]),
        (
            {
                "SCHEMA_REGISTRY_URL": "https://a:b@registry",
                "SCHEMA_REGISTRY_USERNAME": "u",
                "SCHEMA_REGISTRY_PASSWORD": "p",
            },
            ["SCHEMA_REGISTRY_USERNAME"],
        ),
    ],
)
def test_settings_of_the_schema_registry_that_do_not_fit_are_told(
    environ: dict[str, str], why: list[str]
) -> None:
    assert [problem.split(" ")[0] for problem in problems(LOCAL | environ)] == why


def test_no_secret_of_the_schema_registry_is_shown() -> None:
    settings = load_settings(
        environ=LOCAL
        | {
            "SCHEMA_REGISTRY_URL": "https://key:secret-1@registry",
            "SCHEMA_REGISTRY_KEY_PASSWORD": "secret-2",
            "SCHEMA_REGISTRY_CERTIFICATE_FILE": __file__,
        }
    )

    assert "secret-" not in repr(settings)


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("localhost", ["localhost"]),
        ("a:1,b:65535", ["a", "b"]),
        (" a:1 , [::1]:9092", ["a", "::1"]),
        ("", None),
        ("a:1,", None),
        ("a:0", None),
        ("a:65536", None),
        ("kafka://a:1", None),
        ("a:x", None),
        ("user@a:1", None),
    ],
)
def test_a_bootstrap_list_is_hosts_with_ports(servers: str, expected: list[str] | None) -> None:
    assert hosts(servers) == expected


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_a_bootstrap_list(servers: str) -> None:
    found = hosts(servers)

    assert found is None or len(found) == servers.count(",") + 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.example", False),
        ("kafka", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is expected


def test_plaintext_to_another_machine_must_be_asked_for() -> None:
    away = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,b1:9092"}

    (problem,) = problems(away)
    settings = load_settings(environ=away | {"KAFKA_SECURITY": "plaintext"})

    assert problem.startswith("KAFKA_SECURITY (in TOML kafka.security): not set, and b1 is another machine")
    assert settings.kafka.security is Security.PLAINTEXT


MSK = {
    "KAFKA_BOOTSTRAP_SERVERS": "b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098",
    "KAFKA_SECURITY": "msk-iam",
}


@pytest.mark.parametrize(
    ("environ", "region", "origin"),
    [
        ({}, "eu-west-1", "KAFKA_BOOTSTRAP_SERVERS, by the brokers' names"),
        ({"AWS_REGION": "us-east-1"}, "eu-west-1", "KAFKA_BOOTSTRAP_SERVERS, by the brokers' names"),
        ({"KAFKA_AWS_REGION": "us-east-2", "AWS_REGION": "us-east-1"}, "us-east-2", "KAFKA_AWS_REGION"),
        (
            {
                "KAFKA_BOOTSTRAP_SERVERS": "kafka:9098",
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-2",
            },
            "us-east-1",
            "AWS_REGION",
        ),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9098", "AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-2"},
            "us-east-2",
            "AWS_DEFAULT_REGION",
        ),
    ],
)
def test_the_region_of_msk_is_found(environ: dict[str, str], region: str, origin: str) -> None:
    loaded = read_settings(environ=MSK | environ)

    assert loaded.settings.kafka.aws_region == region
    assert loaded.origins["kafka", "aws_region"] == origin


def test_a_region_is_looked_for_only_where_it_is_of_use() -> None:
    settings = load_settings(environ=LOCAL | {"AWS_REGION": "eu west"})

    assert settings.kafka.aws_region is None


def test_msk_iam_without_awss_signer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ottla.settings.rules.find_spec", lambda _: None)

    (problem,) = problems(MSK)

    assert problem.startswith("KAFKA_SECURITY (in TOML kafka.security): msk-iam needs AWS's signer")
    assert "pip install 'ottla[msk]'" in problem


@pytest.mark.parametrize("table", ["client", "consumer", "producer"])
@pytest.mark.parametrize(
    "written",
    [
        "enable.ssl.certificate.verification = false",
        'enable.ssl.certificate.verification = "0"',
        'enable.ssl.certificate.verification = " F "',
        "enable.ssl.certificate.verification = 0",
        '"enable.ssl.certificate.verification" = "FALSE"',
        'ssl.endpoint.identification.algorithm = "none"',
        'ssl.endpoint.identification.algorithm = ""',
        'ssl.certificate.verify_cb = "x"',
        'ssl.cipher.suites = "DEFAULT:aNULL@SECLEVEL=0"',
        'ssl.cipher.suites = "ADH-AES256-GCM-SHA384"',
        'security.protocol = "PLAINTEXT"',
        'security.protocol = "sasl_plaintext"',
        'oauth_cb = "x"',
        "enable.sasl.oauthbearer.unsecure.jwt = true",
    ],
)
def test_no_property_switches_off_the_verification_of_brokers(
    table: str, written: str, tmp_path: Path
) -> None:
    file = toml(tmp_path, f"[kafka.{table}]\n{written}\n")

    (problem,) = problems({"KAFKA_BOOTSTRAP_SERVERS": "b1:9094", "KAFKA_SECURITY": "tls"}, file)

    name = written.partition(" =")[0].strip('"')
    assert problem.startswith(f"[kafka.{table}] in TOML: {name}: ")


def test_a_protocol_without_tls_is_taken_on_loopback_and_one_with_tls_anywhere(tmp_path: Path) -> None:
    plain = toml(tmp_path, '[kafka.client]\nsecurity.protocol = "SASL_PLAINTEXT"\n')
    scram = {"KAFKA_SECURITY": "scram", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "p"}

    here = load_settings(environ=LOCAL | scram, file=plain)
    there = problems({"KAFKA_BOOTSTRAP_SERVERS": "b1:9094"} | scram, plain)
    encrypted = toml(tmp_path, '[kafka.client]\nsecurity.protocol = "SASL_SSL"\n')
    away = load_settings(environ={"KAFKA_BOOTSTRAP_SERVERS": "b1:9094"} | scram, file=encrypted)

    assert here.kafka.client == {"security.protocol": "SASL_PLAINTEXT"}
    assert away.kafka.client == {"security.protocol": "SASL_SSL"}
    assert len(there) == 1
    assert "it would drop the TLS of KAFKA_SECURITY=scram" in there[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.auto.commit", True),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "earliest"),
        ("acks", 1),
        ("request.required.acks", "0"),
        ("enable.idempotence", False),
        ("enable.ssl.certificate.verification", "False"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("partitioner", "consistent_random"),
        ("transactional.id", "x"),
        ("group.id", "x"),
        ("bootstrap.servers", "x"),
        ("group.protocol", "consumer"),
        ("group.instance.id", "pod-0"),
        ("partition.assignment.strategy", "range"),
        ("max.poll.interval.ms", 1),
        ("on_commit", "x"),
        ("error_cb", "x"),
    ],
)
def test_a_property_that_would_break_a_promise_is_refused_with_its_reason(
    name: str, value: object, tmp_path: Path
) -> None:
    written = f'"{value}"' if isinstance(value, str) else str(value).lower()
    file = toml(tmp_path, f"[kafka.client]\n{name} = {written}\n")

    (problem,) = problems(LOCAL, file)

    assert problem == f"[kafka.client] in TOML: {name}: {refusal(name, value)}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acks", "all"),
        ("acks", -1),
        ("enable.auto.commit", False),
        ("partitioner", "murmur2"),
        ("auto.offset.reset", "error"),
        ("linger.ms", 50),
        ("fetch.wait.max.ms", 50),
        ("sasl.mechanisms", "GSSAPI"),
    ],
)
def test_other_properties_are_taken(name: str, value: object) -> None:
    assert refusal(name, value) is None


@pytest.mark.parametrize("declared", ["orders.v1", "orders-v1", "ORDERS_V1"])
def test_a_topic_is_found_by_its_declared_name_however_it_is_written(declared: str) -> None:
    settings = load_settings(environ=LOCAL | {"TOPICS__ORDERS_V1": "prod.orders"})

    assert settings.topic_name(declared) == "prod.orders"
    assert settings.topic_name("others") == "others"


def test_the_name_of_a_topic_in_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, '[topics]\n"orders.v1" = "of-file"\nnotes = "notes-of-file"\n')

    settings = load_settings(environ=LOCAL | {"TOPICS__ORDERS_V1": "of-environment"}, file=file)

    assert settings.topic_name("orders.v1") == "of-environment"
    assert settings.topic_name("notes") == "notes-of-file"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_GROUPID", "KAFKA_GROUP_ID"),
        ("kafka_drain_s", "KAFKA_DRAIN_S"),
        ("OTTLA_FAILFAST", "OTTLA_FAIL_FAST"),
        ("TOPICS_ORDERS", "TOPICS__ORDERS"),
    ],
)
def test_a_near_miss_in_the_environment_is_a_hint_and_no_error(variable: str, meant: str) -> None:
    loaded = read_settings(environ=LOCAL | {variable: "5"})

    (hint,) = loaded.hints
    assert variable in hint
    assert meant in hint


def test_what_others_put_into_the_environment_is_left_alone() -> None:
    others = {
        "KAFKA_PORT": "tcp://10.0.0.1:9092",
        "KAFKA_SERVICE_HOST": "10.0.0.1",
        "KAFKA_PORT_9092_TCP_PROTO": "tcp",
        "KAFKA_HEAP_OPTS": "-Xmx1g",
        "DATABASE_HOST": "x",
        "PATH": "/bin",
    }

    loaded = read_settings(environ=LOCAL | others)

    assert loaded.hints == ()


def test_secrets_are_in_no_repr_and_in_no_problem(tmp_path: Path) -> None:
    file = toml(
        tmp_path, 'database_url = "mysql://u:hunter2@h/d"\n[kafka.client]\nsasl.password = "hunter2"\n'
    )
    environ = LOCAL | {"KAFKA_PASSWORD": "hunter2", "KAFKA_KEY_PASSWORD": "hunter2"}

    found = problems(environ, file)
    settings = load_settings(environ=environ | {"DATABASE_URL": "postgresql://u:hunter2@h/d"}, file=file)

    assert len(found) == 1
    assert "hunter2" not in str(found)
    assert "hunter2" not in repr(settings)


def test_every_setting_has_a_description_and_a_variable_of_its_own() -> None:
    assert all(SETTINGS.values())
    assert len(set(BY_VARIABLE)) == len(BY_VARIABLE)
    assert variable_of(("kafka", "drain_s")) == "KAFKA_DRAIN_S"
    assert variable_of(("database_url",)) == "DATABASE_URL"
    assert variable_of(("fail_fast",)) == "OTTLA_FAIL_FAST"
    assert variable_of(("topics", "orders")) == "TOPICS__ORDERS"
    assert variable_of(("kafka", "client")) is None
