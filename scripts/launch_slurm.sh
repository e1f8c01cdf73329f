#!/usr/bin/env bash
# One run of luperson_jax over the machines of a Slurm job, a process a machine.
#
#   sbatch --nodes=4 scripts/launch_slurm.sh --config pretrain_r50 --workdir /shared/runs/r50 \
#       data.root=/data/LUPerson
#
# What follows are the words of `luperson train`. The workdir must be on a file system that all
# machines share. Slurm sends SIGTERM two minutes before the limit: the run saves and ends with
# status 143, and the job is put back into the queue and goes on from there, on as many machines
# as it then gets.
#SBATCH --job-name=luperson
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

srun --kill-on-bad-exit=1 luperson train --distributed "$@"
status=$?
if [[ $status == 143 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
