#!/usr/bin/env bash
# Prints a Kubernetes JobSet that runs luperson_jax on NODES machines, a process a machine.
#
#   IMAGE=registry/luperson_jax NODES=4 GPUS=8 CLAIM=shared scripts/launch_jobset.sh \
#       --config pretrain_r50 --workdir /shared/runs/r50 data.root=/shared/LUPerson \
#       | kubectl apply -f -
#
# What follows are the words of `luperson train`. IMAGE has the package installed; CLAIM is a volume
# that all machines may write, mounted at /shared. A machine that is lost, or a run that ends with
# another status than 0 and 2, starts all of them again, up to RESTARTS times (100), and the run goes
# on from its last checkpoint; status 2, a mistake in the command, ends it. Shared memory, through
# which worker processes and NCCL give pictures and sums, is as large as SHM (64Gi).
set -euo pipefail

: "${IMAGE:?image with luperson_jax}" "${NODES:?number of machines}" "${CLAIM:?volume claim}"
for number in "NODES=$NODES" "GPUS=${GPUS:-8}" "RESTARTS=${RESTARTS:-100}"; do
    if [[ ! $number =~ =(0|[1-9][0-9]*)$ || $number == NODES=0 ]]; then
        echo "launch_jobset: $number is no number of them" >&2
        exit 2
    fi
done
name=${NAME:-luperson}
python3 - "$name" "$IMAGE" "$NODES" "${GPUS:-8}" "$CLAIM" "${RESTARTS:-100}" "${SHM:-64Gi}" "$@" <<'PYTHON'
import json
import sys

name, image, nodes, gpus, claim, restarts, shm, *words = sys.argv[1:]
place = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
container = {
    "name": "train",
    "image": image,
    "command": [
        *("sh", "-c"),
        'exec luperson train "$@" --coordinator="$COORDINATOR" --num_processes="$PROCESSES" '
        '--process_id="$PLACE"',
        "train",
        *words,
    ],
    "env": [
        {"name": "COORDINATOR", "value": f"{name}-workers-0-0.{name}:8476"},
        {"name": "PROCESSES", "value": nodes},
        {"name": "PLACE", "valueFrom": {"fieldRef": {"fieldPath": place}}},
    ],
    "resources": {"limits": {"nvidia.com/gpu": int(gpus)}},
    "volumeMounts": [
        {"name": "shared", "mountPath": "/shared"},
        {"name": "memory", "mountPath": "/dev/shm"},
    ],
}
pod = {
    "restartPolicy": "Never",
    "subdomain": name,
    "containers": [container],
    "volumes": [
        {"name": "shared", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": shm}},
    ],
}
job = {
    "completionMode": "Indexed",
    "completions": int(nodes),
    "parallelism": int(nodes),
    "backoffLimit": 0,
    "podFailurePolicy": {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": "train", "operator": "In", "values": [2]},
            }
        ]
    },
    "template": {"spec": pod},
}
print(
    json.dumps(
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": {
                    "maxRestarts": int(restarts),
                    "rules": [
                        {
                            "name": "mistake",
                            "action": "FailJobSet",
                            "onJobFailureReasons": ["PodFailurePolicy"],
                        }
                    ],
                },
                "network": {"enableDNSHostnames": True, "subdomain": name},
                "replicatedJobs": [
                    {"name": "workers", "replicas": 1, "template": {"spec": job}}
                ],
            },
        },
        indent=2,
    )
)
PYTHON
