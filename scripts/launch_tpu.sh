#!/usr/bin/env bash
# One run of luperson_jax on all hosts of a Cloud TPU pod slice.
#
#   TPU=my-pod ZONE=us-central2-b scripts/launch_tpu.sh --config pretrain_r50 \
#       --workdir /mnt/shared/runs/r50 data.root=/mnt/shared/LUPerson
#
# What follows are the words of `luperson train`. The package has to be installed on the hosts
# (pip install 'luperson_jax[tpu]'), and the workdir be on a file system that all of them share.
# Starts the command again, up to RETRIES times (20), where it ended otherwise than well, by a mistake
# in the command (status 2) or by Ctrl-C, as where the run was sent SIGTERM or lost a host: it goes on
# from its last checkpoint. A lost host has status 1, as has a loss that is not finite.
set -uo pipefail

: "${TPU:?name of the pod slice}" "${ZONE:?its zone}"
words=$(printf '%q ' luperson train --distributed "$@")
for ((again = ${RETRIES:-20}; ; again--)); do
    gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "$words"
    status=$?
    # 0: done. 2: a mistake in the command. 130: Ctrl-C.
    if [[ $status == 0 || $status == 2 || $status == 130 || $again == 0 ]]; then
        exit "$status"
    fi
    echo "ended with status $status; starting again in 30 seconds" >&2
    sleep 30
done
