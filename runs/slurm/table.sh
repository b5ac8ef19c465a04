#!/usr/bin/env bash
# A table on a cluster: sbatch --array=1-8 runs/slurm/table.sh NAME OUT [OPTIONS of phonemi table]
# Each task trains and scores every n-th model; what they share is made once, and the last one writes the table. A task
# that is stopped (SIGTERM before the time limit) saves its state and is queued again; a dead one's row is taken over.
#SBATCH --job-name=phonemi-table
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --open-mode=append
set -euo pipefail
name=${1:?usage: sbatch --array=1-N table.sh NAME OUT [OPTIONS]}
out=${2:?usage: sbatch --array=1-N table.sh NAME OUT [OPTIONS]}
shift 2
phonemi=${PHONEMI:-phonemi}
shard=${SLURM_ARRAY_TASK_ID:?start it with sbatch --array=1-N}/${SLURM_ARRAY_TASK_COUNT:-$SLURM_ARRAY_TASK_MAX}

"$phonemi" table "$name" --out "$out" --shard "$shard" "$@" &
work=$!
trap 'kill -TERM $work 2>/dev/null || true' TERM
code=0
wait $work || code=$?
if [ $code -gt 128 ]; then # the wait was interrupted: for the end itself
    wait $work || code=$?
fi
if [ $code -eq 143 ] && command -v scontrol >/dev/null; then # interrupted, and it can go on
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit $code
