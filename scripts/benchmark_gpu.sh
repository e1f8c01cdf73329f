#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in about six minutes; figures go to the folder OUT.
#
#   OUT=runs/gpu scripts/benchmark_gpu.sh
#
# Needs the extras cuda and torch. One device: the step of MoCo beside PyTorch's (bfloat16, channels
# last), MGN's, a ranking of Market-1501's size, and the tests of the step and of the ranking on the
# device. It has not run yet: no GPU was at hand.
set -uo pipefail
cd "$(dirname "$0")/.."

export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
# PyTorch needs room beside JAX.
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.5
out=${OUT:-runs/gpu}
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv | tee "$out/gpu.csv"

part() { # SECONDS NAME COMMAND...
    local limit=$1 name=$2
    shift 2
    timeout "$limit" "$@" 2>&1 | tee "$out/$name.log"
    echo "$name: status ${PIPESTATUS[0]}" | tee -a "$out/status.txt"
}

workers="--set data.num_workers=$(($(nproc) > 2 ? $(nproc) - 2 : 1))"
part 150 moco python scripts/benchmark_train.py --config configs/pretrain_r50.py \
    --set data.batch_size=320 --set model.bn_group_size=0 $workers \
    --torch --steps 20 --rounds 5 --json "$out/moco.json"
part 80 mgn python scripts/benchmark_train.py --config configs/finetune_mgn.py:init=scratch \
    $workers --steps 20 --rounds 3 --json "$out/mgn.json"
part 50 ranking python scripts/benchmark_retrieval.py --case market1501 --json "$out/ranking.json"
part 80 tests env JAX_PLATFORMS=cuda python -m pytest -q -n 0 -o addopts=-ra tests/luperson_jax/test_ranking.py \
    tests/luperson_jax/test_moments.py tests/luperson_jax/test_max_pool.py
