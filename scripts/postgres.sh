# Sourced by ./test: starts a PostgreSQL of its own on a free port and names it in PALISADE_TEST_POSTGRES.

postgres_directory=$(mktemp -d)
postgres_bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)

# PostgreSQL refuses to run as root; whoever else runs the tests runs it himself.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

stop_postgres() {
  as_postgres "$postgres_bin/pg_ctl" -D "$postgres_directory/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$postgres_directory"
}

[ "$(id -u)" != 0 ] || chown postgres "$postgres_directory"
postgres_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Nothing of it outlives the tests, so nothing needs to reach the disk.
as_postgres "$postgres_bin/initdb" -D "$postgres_directory/data" -U palisade --auth=trust --no-sync >/dev/null
as_postgres "$postgres_bin/pg_ctl" -D "$postgres_directory/data" -l "$postgres_directory/log" -w \
  -o "-p $postgres_port -k $postgres_directory -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200" start >/dev/null
export PALISADE_TEST_POSTGRES="postgres://palisade@127.0.0.1:$postgres_port/postgres"
echo "PostgreSQL on port $postgres_port"
