#!/usr/bin/env bash
# Copies the jars of Apache Kafka to .kafka/libs. Only tests and benchmarks need them.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in java mvn; do
    command -v "$tool" >/dev/null || {
        echo "make: '$tool' is missing: tests against Apache Kafka need Java 17 or later and Maven" \
            "(Debian, Ubuntu: apt install openjdk-17-jre-headless maven; macOS: brew install openjdk maven)." \
            "'make check' and 'make demo' need neither." >&2
        exit 1
    }
done

rm -rf .kafka/libs
mkdir -p .kafka
mvn --batch-mode --quiet --file scripts/kafka/pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$PWD/.kafka/libs" \
    || { echo "make: Maven could not fetch Kafka's jars; its words are above" >&2; exit 1; }
touch .kafka/.made
