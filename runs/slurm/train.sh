#!/usr/bin/env bash
# One training on all GPUs of one or several nodes: sbatch --nodes=2 --gres=gpu:4 runs/slurm/train.sh COMMAND --run RUN [OPTIONS]
# COMMAND is pretrain, aggregate or train; RUN and the data lie where all nodes see them. A job that is stopped (SIGTERM
# before the time limit) saves its state and is queued again; it may go on with other numbers of nodes and GPUs.
#SBATCH --job-name=phonemi-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --open-mode=append
set -euo pipefail
usage="usage: sbatch --nodes=N --gres=gpu:G train.sh COMMAND --run RUN [OPTIONS]"
: "${1:?$usage}" "${SLURM_JOB_ID:?$usage}"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --kill-on-bad-exit=1 "${TORCHRUN:-torchrun}" \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 20000))" \
    -m phonemi.cli -- "$@" & # the -- because torchrun has an option --run-path, which --run could stand for
work=$!
stopped=
trap 'stopped=yes; kill -TERM $work 2>/dev/null || true' TERM # srun hands it on
code=0
wait $work || code=$?
if [ -n "$stopped" ]; then # the wait was interrupted: for the end itself
    code=0
    wait $work || code=$?
    if [ $code -ne 0 ]; then # torchrun ends with 1 where phonemi ends with 143
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit $code
