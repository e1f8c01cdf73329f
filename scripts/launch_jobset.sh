#!/usr/bin/env bash
# Prints a Kubernetes JobSet that runs luperson_jax on NODES machines, a process a machine.
#
#   IMAGE=registry/luperson_jax NODES=4 GPUS=8 CLAIM=shared scripts/launch_jobset.sh \
#       --config pretrain_r50 --workdir /shared/runs/r50 data.root=/shared/LUPerson \
#       | kubectl apply -f -
#
# What follows are the words of `luperson train`. IMAGE has the package installed; CLAIM is a volume
# that all machines may write, mounted at /shared. A machine that is lost starts all of them again, up to RESTARTS times (100), and the run
# goes on from its last checkpoint.
set -euo pipefail

: "${IMAGE:?image with luperson_jax}" "${NODES:?number of machines}" "${CLAIM:?volume claim}"
name=${NAME:-luperson}
python3 - "$name" "$IMAGE" "$NODES" "${GPUS:-8}" "$CLAIM" "${RESTARTS:-100}" "$@" <<'PYTHON'
import json
import sys

name, image, nodes, gpus, claim, restarts, *words = sys.argv[1:]
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
    "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
}
pod = {
    "restartPolicy": "Never",
    "subdomain": name,
    "containers": [container],
    "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": claim}}],
}
job = {
    "completionMode": "Indexed",
    "completions": int(nodes),
    "parallelism": int(nodes),
    "backoffLimit": 0,
    "template": {"spec": pod},
}
print(
    json.dumps(
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": {"maxRestarts": int(restarts)},
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
