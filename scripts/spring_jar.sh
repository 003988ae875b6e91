#!/usr/bin/env bash
# Builds the Spring side of `make interop`.
set -euo pipefail
cd "$(dirname "$0")/../tests/interop/spring"

command -v mvn >/dev/null && { command -v javac || test -x "${JAVA_HOME:-}/bin/javac"; } >/dev/null || {
    echo "make: the Spring side of 'make interop' needs Maven and a JDK of Java 17 or later" \
        "(Debian, Ubuntu: apt install openjdk-17-jdk-headless maven; macOS: brew install openjdk maven)." >&2
    exit 1
}

rm -rf target # a class whose source is gone would stay
mvn --batch-mode --quiet package \
    || { echo "make: Maven could not build the Spring side; its words are above" >&2; exit 1; }
touch target/.made
