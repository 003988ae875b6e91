#!/usr/bin/env bash
# Unpacks Apicurio Registry into .apicurio. Only tests need it; it runs on the Java that is in .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.3.3
command -v mvn >/dev/null || {
    echo "make: 'mvn' is missing: tests against a schema registry need Maven to fetch Apicurio" \
        "(Debian, Ubuntu: apt install maven; macOS: brew install maven). 'make check' and 'make demo' do not." >&2
    exit 1
}

rm -rf .apicurio
mkdir -p .apicurio
mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$PWD/.apicurio" \
    || { echo "make: Maven could not fetch Apicurio Registry; its words are above" >&2; exit 1; }
tar -xzf ".apicurio/apicurio-registry-app-$version-all.tar.gz" -C .apicurio
rm ".apicurio/apicurio-registry-app-$version-all.tar.gz"
touch .apicurio/.made
