#!/bin/bash
# Sets up a SLURM of one node on this machine (as root, on Debian), and runs docs/clusters/train.sbatch on it: a task is
# killed, SLURM requeues the job, and the run ends equal to one that was left alone. Prints a transcript; status 0 if all holds.
#   tests/cluster/slurm.sh [PYTHON]
set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHON=${1:-$PWD/.venv/bin/python}
work=$(mktemp -d /tmp/flaxae-slurm.XXXXXX)
say() { echo "$(date +%T) + $*"; }

command -v slurmctld > /dev/null || { apt-get update -qq && apt-get install -y -qq slurm-wlm munge > /dev/null; }
host=$(hostname -s)
mkdir -p /etc/slurm "$work/ctld" "$work/d"
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=flaxae
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=30
MinJobAge=3600
RebootProgram=/bin/true
SchedulerParameters=defer,batch_sched_delay=1,requeue_setup_env_fail
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
StateSaveLocation=$work/ctld
SlurmdSpoolDir=$work/d
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/d.pid
SlurmctldLogFile=$work/ctld.log
SlurmdLogFile=$work/d.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
stop() { for pid in "$work/d.pid" "$work/ctld.pid"; do [ -s "$pid" ] && kill "$(cat "$pid")" 2> /dev/null; done; [ -n "${munged:-}" ] && kill "$munged" 2> /dev/null; }
trap stop EXIT
[ -s /etc/munge/munge.key ] || (umask 077; dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2> /dev/null; chown munge: /etc/munge/munge.key)
mkdir -p /run/munge && chown munge: /run/munge
if ! munge -n > /dev/null 2>&1; then
  runuser -u munge -- /usr/sbin/munged --foreground > "$work/munged.log" 2>&1 & munged=$!
  sleep 1
fi
slurmctld && slurmd || exit 1
for _ in $(seq 30); do sinfo -h -o %t 2> /dev/null | grep -q idle && break; sleep 1; done
say "$(sinfo --version)"; sinfo

export JAX_PLATFORMS=cpu
flags=(--dataset mnist_5k --train-limit 600 --filters 4 3 --activation relu --batch-size 60 --learning-rate 0.001 --schedule constant --warmup 0 --epochs "${EPOCHS:-40}")
submit() { # NAME
  sbatch --parsable --nodes=1 --ntasks-per-node=2 --gres=none --cpus-per-task=1 --output="$work/$1.txt" --job-name="$1" \
    docs/clusters/train.sbatch "${flags[@]}" --workdir "$work/run-$1"
}
await() { # ID: until the job is over
  until scontrol show job "$1" | grep -qE "JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT)"; do sleep 1; done
}
epochs() { wc -l 2> /dev/null < "$work/run-$1/metrics.jsonl" || echo 0; }

say "a run that is left alone"
alone=$(submit alone); await "$alone"
say "the same, one of whose tasks is killed after three epochs"
killed=$(submit killed)
until [ "$(epochs killed)" -ge 3 ]; do sleep 0.2; done
task=$(for p in $(scontrol listpids "$killed.0" 2> /dev/null | awk 'NR > 1 && $4 == 1 {print $1}'); do tr '\0' ' ' < "/proc/$p/cmdline" | grep -q "run.py train" && echo "$p"; done | tail -1)
say "kill -9 $task, of task 1, after $(epochs killed) epochs"; kill -9 "$task"
await "$killed"

for name in alone killed; do
  say "output of the job $name"; cat "$work/$name.txt"
done
scontrol show job "$killed" | grep -E "JobState|Restarts|ExitCode"
"$PYTHON" - "$work" <<'PY'
import json, sys
runs = [[json.loads(line) for line in open(f"{sys.argv[1]}/run-{name}/metrics.jsonl")] for name in ("alone", "killed")]
names = ("train_loss", "validation_loss")
worst = max(abs(a[n] / b[n] - 1) for a, b in zip(*runs, strict=True) for n in names)
print(f"{len(runs[0])} and {len(runs[1])} epochs; their losses differ by at most {worst:.1e}")
sys.exit(worst > 1e-6)
PY
equal=$?
scontrol show job "$killed" | grep -q "Restarts=1" && [ $equal -eq 0 ] && say "all holds" || { say "something does not hold; see $work"; exit 1; }
