"""A real kube-apiserver with its etcd on loopback: it decides what a cluster takes. No node: nothing runs."""

from __future__ import annotations

import secrets
import ssl
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ottla.embedded.guarded import GuardedServer, free_port
from tests.deploy.manifests import TOOLS, Manifest

_LOG = "log"
_START_S = 60.0
_ESTABLISHED_S = 30.0
_CREATED = 201


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says of one manifest: `refusal` is None when it takes it; warnings count."""

    manifest: Manifest
    refusal: str | None

    def __str__(self) -> str:
        return f"{self.manifest}: {self.refusal or 'accepted'}"


class ApiServer:
    """Runs from `with` to its end, and ends with its owner however that ends."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._plurals: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()

    def version(self) -> str:
        """As it tells it, v1.37.2."""
        return str(self._get("/version")["gitVersion"])

    def create_namespace(self, name: str) -> None:
        """One that enforces the level "restricted" of Pod Security, and warns of workloads that break it."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self._client.post("/api/v1/namespaces", json=body).raise_for_status()

    def define(self, definitions: list[Manifest]) -> None:
        """Create CustomResourceDefinitions, and wait until their resources are served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for each in definitions:
            self._client.post(path, json=each.body).raise_for_status()
        deadline = time.monotonic() + _ESTABLISHED_S
        for each in definitions:
            while not self._is_established(f"{path}/{each.name}"):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{each.name} is not served after {_ESTABLISHED_S:.0f} s")
                time.sleep(0.05)

    def dry_run(self, manifest: Manifest, namespace: str) -> Answer:
        """What `kubectl create --dry-run=server --validate=strict` asks: all is checked, nothing stored."""
        version = manifest.body["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = self._plural(root, manifest.kind)
        if plural is None:
            return Answer(manifest, f"this server knows no {manifest.kind} of {version}")
        answer = self._client.post(
            f"{root}/namespaces/{namespace}/{plural}",
            params={"dryRun": "All", "fieldValidation": "Strict"},
            json=manifest.body,
        )
        if answer.status_code != _CREATED:
            return Answer(manifest, f"{answer.status_code} {answer.json().get('message', answer.text)}")
        return Answer(manifest, answer.headers.get("Warning"))

    def _start(self) -> None:
        etcd = self._exits.enter_context(closing(GuardedServer("ottla-etcd-")))
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        etcd.start(
            [
                str(TOOLS / "etcd"),
                "--data-dir=data",
                "--unsafe-no-fsync",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
            log=_LOG,
        )
        server = self._exits.enter_context(closing(GuardedServer("ottla-kube-apiserver-")))
        port, token = free_port(), secrets.token_hex(16)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (server.folder / "sa.key").write_bytes(private)
        (server.folder / "sa.pub").write_bytes(public)
        (server.folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
        etcd.wait_until(lambda: _answers(f"{client}/health"), timeout_s=_START_S, log=_LOG)
        server.start(
            [
                str(TOOLS / "kube-apiserver"),
                f"--etcd-servers={client}",
                "--endpoint-reconciler-type=none",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                "--cert-dir=certs",
                "--service-account-key-file=sa.pub",
                "--service-account-signing-key-file=sa.key",
                f"--service-account-issuer=https://127.0.0.1:{port}",
                "--authorization-mode=RBAC",
                "--token-auth-file=tokens.csv",
                "--service-cluster-ip-range=10.96.0.0/16",
                # It refuses pods whose account is not there yet, and a dry run makes none.
                "--disable-admission-plugins=ServiceAccount",
            ],
            log=_LOG,
        )
        certificate = server.folder / "certs" / "apiserver.crt"
        server.wait_until(certificate.exists, timeout_s=_START_S, log=_LOG)
        self._client = self._exits.enter_context(
            httpx.Client(
                base_url=f"https://127.0.0.1:{port}",
                verify=ssl.create_default_context(cafile=str(certificate)),
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
                trust_env=False,
            )
        )
        server.wait_until(self._is_ready, timeout_s=_START_S, log=_LOG)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _is_established(self, path: str) -> bool:
        conditions = self._get(path).get("status", {}).get("conditions", [])
        return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

    def _plural(self, root: str, kind: str) -> str | None:
        if root not in self._plurals:
            resources = self._get(root).get("resources", [])
            self._plurals[root] = {
                each["kind"]: each["name"] for each in resources if "/" not in each["name"]
            }
        return self._plurals[root].get(kind)

    def _get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.get(path).json()
        return answer


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
