#!/usr/bin/env bash
# The tracking server of a cluster: MLflow on PostgreSQL, on the head node.
#
#   deploy/head.sh start [ARTIFACTS]   start what does not run; ARTIFACTS (a folder or s3://..., gs://...) keeps runs' files
#   deploy/head.sh keep [ARTIFACTS]    the same, now, after each boot, and within five minutes of a crash (by cron)
#   deploy/head.sh stop                stop both; the data stays
#
# All lies in ~/mlflow. Nothing listens beyond this machine: MLflow on 127.0.0.1:5000, PostgreSQL on a Unix socket in a
# folder of our own, where the system says who asks. So there is no password that could leak.
# MLFLOW_FOLDER, MLFLOW_PORT and VENV move things elsewhere. An MLflow that runs and answers nothing for MLFLOW_PATIENCE
# seconds is ended and started anew.
set -euo pipefail
command=${1:-start}
folder=${MLFLOW_FOLDER:-$HOME/mlflow}
port=${MLFLOW_PORT:-5000}
venv=${VENV:-$HOME/venv}
patience=${MLFLOW_PATIENCE:-60}
artifacts=${2:-$folder/artifacts}
export PGHOST=$folder PGUSER=mlflow PGDATABASE=mlflow

fail() { echo "deploy/head.sh: $*" >&2; exit 1; }
[[ $(id -u) -ne 0 ]] || fail "run it as an ordinary user; PostgreSQL refuses to run as root"
mkdir -p "$folder"
chmod 700 "$folder"
# One at a time: cron may come while `ray up` is at it. --close: what is started here must not hold the lock for ever.
[[ -n ${LOCKED:-} ]] || LOCKED=1 exec flock --close "$folder/.lock" "$0" "$@"

if ! command -v initdb > /dev/null; then # Debian and Ubuntu keep it out of PATH
    PATH=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1):$PATH
    command -v initdb > /dev/null || fail "PostgreSQL is not installed: sudo apt-get install postgresql"
fi

postgres_runs() { pg_isready --quiet --dbname postgres; }
mlflow_runs() { ! flock --nonblock "$folder/mlflow.lock" true; }
mlflow_answers() {
    "$venv/bin/python" -c 'import sys, urllib.request as web
web.build_opener(web.ProxyHandler({})).open(sys.argv[1], timeout=5)' "http://127.0.0.1:$port/health" > /dev/null 2>&1
}
# Of the server and its workers, also of workers that outlived it and keep its port: all that is in its session. The
# names are asked for because after a reboot the number in the file may be somebody else's.
mlflow_processes() {
    [[ -s $folder/mlflow.pid ]] && "$@" --session "$(< "$folder/mlflow.pid")" --full 'mlflow|multiprocessing'
}

start_postgres() {
    if [[ ! -s $folder/postgres/PG_VERSION ]]; then
        rm -rf "$folder/postgres.new" # a first start that was cut short
        initdb --pgdata "$folder/postgres.new" --username mlflow --auth peer --encoding UTF8 > /dev/null
        # "peer": the system tells PostgreSQL who is at the socket; the one user who may be "mlflow" is ourselves.
        echo "local all all peer map=self" > "$folder/postgres.new/pg_hba.conf"
        echo "self $(id -un) mlflow" > "$folder/postgres.new/pg_ident.conf"
        mv "$folder/postgres.new" "$folder/postgres"
    fi
    for _ in {1..30}; do # one that was killed leaves processes behind, which first notice that they are alone
        ! postgres_runs || break
        # Two MLflow workers hold at most 45 connections each.
        pg_ctl --pgdata "$folder/postgres" --log "$folder/postgres.log" --wait --timeout 120 start > /dev/null 2>&1 \
            --options "-c listen_addresses='' -c unix_socket_directories='$folder' -c max_connections=100" || sleep 1
    done
    postgres_runs || fail "PostgreSQL does not start: $(tail -5 "$folder/postgres.log")"
    [[ $(psql -d postgres -Atc "select count(*) from pg_database where datname = 'mlflow'") == 1 ]] || createdb mlflow
}

start_mlflow() {
    exec 9> "$folder/mlflow.lock" # held by the server for as long as it lives
    flock --nonblock 9 || return 0
    mlflow_processes pkill -KILL || true
    # Defaults that lose data or memory: with MLflow's own pool a burst of a hundred trials gets errors that no client
    # retries, and its job runner is eight processes that nothing here uses.
    export MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=20 MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=25
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
    # Its own session: it outlives the ssh connection that starts it, and one signal reaches all its workers.
    setsid nohup "$venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 2 --uvicorn-opts --no-access-log \
        --backend-store-uri "postgresql+psycopg2://mlflow@/mlflow?host=$folder" \
        --serve-artifacts --artifacts-destination "$artifacts" >> "$folder/mlflow.log" 2>&1 < /dev/null &
    echo $! > "$folder/mlflow.pid"
    exec 9>&-
}

mlflow_answers_within() { # or ends before
    local deadline=$((SECONDS + $1))
    until mlflow_answers; do
        ((SECONDS < deadline)) && mlflow_runs || return 1
        sleep 1
    done
}

start() {
    start_postgres
    if mlflow_runs && ! mlflow_answers_within "$patience"; then
        echo "deploy/head.sh: no answer within $patience s; started anew" >> "$folder/mlflow.log"
        mlflow_processes pkill -KILL || true
        flock --timeout 30 "$folder/mlflow.lock" true || fail "MLflow hangs, and cannot be ended"
    fi
    mlflow_answers || start_mlflow
    # Importing MLflow takes seconds, making its tables half a minute on a small machine, and three on a busy one. If it
    # dies, this does not wait.
    mlflow_answers_within 600 || fail "MLflow does not answer: $(tail -5 "$folder/mlflow.log")"
}

other_lines() { crontab -l 2> /dev/null | grep -vF "deploy/head.sh" || true; }

case $command in
    start) start ;;
    keep)
        line="$(realpath "$0") start $artifacts"
        { other_lines; printf '%s\n' "@reboot $line" "*/5 * * * * $line"; } | crontab -
        start
        ;;
    stop)
        if crontab -l 2> /dev/null | grep -qF "deploy/head.sh"; then other_lines | crontab -; fi
        mlflow_processes pkill -TERM || true
        for _ in {1..30}; do
            mlflow_processes pgrep > /dev/null || break
            sleep 1
        done
        mlflow_processes pkill -KILL || true
        ! postgres_runs || pg_ctl --pgdata "$folder/postgres" --mode fast stop > /dev/null
        ;;
    *) fail "'$command' is not a command; start, keep or stop" ;;
esac
