"""What the image apache/kafka does at its start: KAFKA_* to properties, the log formatted, the broker run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

NOT_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS", "KAFKA_VERSION"}
_FILE = Path("/tmp/server.properties")  # the container's own
_CLUSTER = "5L6g3nShT-eMCtK--X86sw"
"""What the image takes where CLUSTER_ID is unset."""


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """`_` stands for a dot, two for an underscore, three for a hyphen: the image's rule."""
    return {
        name.removeprefix("KAFKA_")
        .lower()
        .replace("___", "-")
        .replace("__", "\0")
        .replace("_", ".")
        .replace("\0", "_"): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name not in NOT_PROPERTIES
    }


def main() -> None:
    """Become the broker."""
    _FILE.write_text("".join(f"{name}={value}\n" for name, value in properties(os.environ).items()))
    heap = os.environ.get("KAFKA_HEAP_OPTS", "-Xmx1G -Xms1G").split()
    java = [
        "java",
        *heap,
        "-XX:TieredStopAtLevel=1",  # starts sooner; the broker is not what is measured
        "-Dlog4j2.configurationFile=/opt/kafka/config/log4j2.xml",
        "-cp",
        "/opt/kafka/libs/*",
    ]
    cluster = f"--cluster-id={os.environ.get('CLUSTER_ID', _CLUSTER)}"
    storage = ["kafka.tools.StorageTool", "format", "--ignore-formatted", cluster, "--config", str(_FILE)]
    subprocess.run([*java, *storage], check=True)
    os.execvp("java", [*java, "kafka.Kafka", str(_FILE)])


if __name__ == "__main__":
    main()
