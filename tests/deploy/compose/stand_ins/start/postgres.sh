#!/bin/sh
# What the image postgres does at its start: the first time it makes the database and runs what lies in
# /docker-entrypoint-initdb.d, while nobody can connect by TCP.
set -eu
user="${POSTGRES_USER:-postgres}"
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

mkdir -p "$PGDATA" /tmp/pg
chown -R postgres:postgres "$PGDATA" /tmp/pg
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/pg/password
    as_postgres initdb --username="$user" --pwfile=/tmp/pg/password --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C --no-instructions
    rm /tmp/pg/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    as_postgres pg_ctl start --wait --options="-c listen_addresses='' -c unix_socket_directories=/tmp/pg"
    psql="psql --host=/tmp/pg --username=$user --set=ON_ERROR_STOP=1 --no-psqlrc"
    as_postgres $psql --dbname=postgres --command="CREATE DATABASE \"${POSTGRES_DB:-$user}\""
    for file in /docker-entrypoint-initdb.d/*.sql; do
        [ -e "$file" ] && as_postgres $psql --dbname="${POSTGRES_DB:-$user}" --file="$file"
    done
    as_postgres pg_ctl stop --wait
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups \
    postgres -c listen_addresses='*' -c unix_socket_directories=/tmp/pg
