#!/usr/bin/env bash
# A real Slurm with two nodes on this machine, on the loopback address, for tests:
#
#   scripts/slurm_here.sh start DIR     munged, slurmctld and two slurmd; prints how to use it
#   scripts/slurm_here.sh stop DIR      ends what was started there, and nothing else
#
# As root, with the packages slurm-wlm and munge of Debian or Ubuntu. Everything it writes lies in
# DIR, which must not be there yet (or be left by a `stop`).
set -euo pipefail

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

[ $# = 2 ] || fail "usage: scripts/slurm_here.sh start|stop DIR"
case $1 in start | stop) ;; *) fail "usage: scripts/slurm_here.sh start|stop DIR" ;; esac

started() { # NAME: notes the process that was started last
    printf '%s\n' "$!" >"$dir/$1.pid"
}

alive() { # NAME: whether the process that was started under this name is there still
    [ -r "$dir/$1.pid" ] && [ "$(cat "/proc/$(cat "$dir/$1.pid")/comm" 2>/dev/null)" = "$2" ]
}

stop() {
    local name
    for name in slurmd-n1:slurmd slurmd-n2:slurmd slurmctld:slurmctld munged:munged; do
        alive "${name%:*}" "${name#*:}" && kill "$(cat "$dir/${name%:*}.pid")"
    done
    for name in slurmd-n1:slurmd slurmd-n2:slurmd slurmctld:slurmctld munged:munged; do
        for _ in $(seq 100); do
            alive "${name%:*}" "${name#*:}" || break
            sleep 0.1
        done
        alive "${name%:*}" "${name#*:}" && kill -KILL "$(cat "$dir/${name%:*}.pid")"
        rm -f "$dir/${name%:*}.pid"
    done
}

free_port() { # FROM: a port of the thousand from there on that nobody listens on
    local port
    while port=$(($1 + RANDOM % 1000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    printf '%s\n' "$port"
}

configure() {
    local control first second
    control=$(free_port 21000) first=$(free_port 22000) second=$(free_port 23000)
    cat >"$dir/slurm.conf" <<END
ClusterName=here
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$control
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=10
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=30
SchedulerParameters=batch_sched_delay=0,sched_interval=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmdPidFile=$dir/run-%n.pid
SlurmctldPidFile=$dir/run-control.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
NodeName=n1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$first CPUs=2
NodeName=n2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$second CPUs=2
PartitionName=here Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
END
}

start_munged() {
    mkdir -p "$dir/munge"
    dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
    chmod 400 "$dir/munge/key"
    # --force: DIR may stand in a folder that all may write to.
    munged --foreground --force \
        --socket="$dir/munge/socket" --key-file="$dir/munge/key" --num-threads=2 \
        --log-file="$dir/munge/log" --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed" \
        >"$dir/munged.txt" 2>&1 &
    started munged
    for _ in $(seq 50); do [ -S "$dir/munge/socket" ] && return; sleep 0.1; done
    fail "munged did not start; see $dir/munged.txt"
}

start() {
    local name
    for name in munged slurmctld slurmd; do
        command -v "$name" >/dev/null ||
            fail "no $name; as root: apt-get install -y --no-install-recommends slurm-wlm munge"
    done
    [ "$(id -u)" = 0 ] || fail "slurmd needs root"
    [ -e "$dir/slurm.conf" ] && fail "'$dir' is in use; stop it, or give another folder"
    mkdir -p "$dir/state"
    configure
    start_munged
    export SLURM_CONF=$dir/slurm.conf
    slurmctld -D >"$dir/slurmctld.txt" 2>&1 &
    started slurmctld
    for name in n1 n2; do
        slurmd -D -N "$name" >"$dir/slurmd-$name.txt" 2>&1 &
        started "slurmd-$name"
    done
    for _ in $(seq 300); do
        [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = 2 ] && {
            printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
            return
        }
        sleep 0.1
    done
    stop
    fail "the nodes did not come up; see $dir/*.log"
}

if [ "$1" = stop ]; then
    dir=$(realpath "$2") && stop && rm -f "$dir/slurm.conf"
else
    mkdir -p "$2" && dir=$(realpath "$2") && start
fi
