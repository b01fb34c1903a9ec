#!/usr/bin/env bash
# A real SLURM of one node on the loopback, as root, for tests:
#   eval "$(tests/slurm/cluster.sh start DIR)"; sinfo; tests/slurm/cluster.sh stop DIR
set -euo pipefail

say() { echo "cluster.sh: $*" >&2; }

# A session of its own: Ctrl-C in a test must not reach the daemons before "stop" does.
launch() { setsid "$@" </dev/null &>>"$dir/$1.log" & echo $! >"$dir/$1.pid"; }

# By name too: the id in an old file may be another process by now.
alive() { [[ -s $dir/$1.pid && $(cat "/proc/$(<"$dir/$1.pid")/comm" 2>/dev/null) == "$1" ]]; }

end() {
    if alive "$1"; then kill "$(<"$dir/$1.pid")"; fi
    for _ in {1..50}; do alive "$1" || break; sleep 0.2; done
    if alive "$1"; then kill -KILL "$(<"$dir/$1.pid")"; fi
    rm -f "$dir/$1.pid"
}

stop() {
    if alive munged && alive slurmctld && alive slurmd; then
        # A job outlives its slurmd, so the jobs go first.
        timeout 10 squeue --noheader --format=%A | sort -u | xargs -r timeout 10 scancel || say "the jobs were not cancelled"
        for _ in {1..50}; do [[ -z $(timeout 10 squeue --noheader) ]] && break; sleep 0.2; done
    fi
    for daemon in slurmd slurmctld munged; do end "$daemon"; done
}

fail() {
    say "$*"
    for log in "$dir"/{munged,slurmctld,slurmd}.log; do
        if [[ -s $log ]]; then echo "== $log" && tail -n 15 "$log"; fi >&2
    done
    stop
    exit 1
}

configure() {
    local host cpus memory
    host=$(uname -n)
    host=${host%%.*}
    # nproc answers OMP_NUM_THREADS where that is set.
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    cat >"$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired, by default two minutes, and for the next round of scheduling.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
SchedulerParameters=sched_interval=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/spool/slurmctld.pid
SlurmdPidFile=$dir/spool/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE
CONF
}

start() {
    local missing=()
    for program in munged slurmctld slurmd sinfo sbatch; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    if ((${#missing[@]})); then
        say "not found: ${missing[*]}. Install the Debian packages: apt-get install slurm-wlm munge"
        exit 1
    fi
    if ((EUID)); then say "the daemons must run as root" && exit 1; fi

    stop
    rm -rf "$dir"/{state,spool} "$dir"/*.log
    mkdir -p "$dir"/{state,spool}
    configure

    # A munged of its own, with a key and a socket in DIR: the machine's own is left alone.
    # --force: it refuses a socket in a folder that only root enters, as the temporary folders of pytest are.
    [[ -s $dir/munge.key ]] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    launch munged --foreground --force --origin=127.0.0.1 --socket="$dir/munge.socket" --key-file="$dir/munge.key" \
        --seed-file="$dir/munge.seed" --pid-file="$dir/spool/munged.pid"
    for _ in {1..50}; do [[ -S $dir/munge.socket ]] && break; sleep 0.1; done
    launch slurmctld -D
    launch slurmd -D

    local state=unknown
    for _ in {1..60}; do
        sleep 0.5
        for daemon in munged slurmctld slurmd; do alive "$daemon" || fail "$daemon did not stay up"; done
        state=$(timeout 5 sinfo --noheader --format=%T 2>&1 || true)
        if [[ $state == idle ]]; then echo "export SLURM_CONF=$SLURM_CONF" && exit; fi
    done
    fail "the node is not idle but '$state'"
}

if [[ $# != 2 || ! $1 =~ ^(start|stop)$ ]]; then
    echo "usage: $0 start DIR | stop DIR" >&2
    exit 2
fi
dir=$(realpath -m "$2")
export SLURM_CONF=$dir/slurm.conf
"$1"
