#!/usr/bin/env bash
# Everything that needs a GPU, in one command: CUDA tests, numbers against the CPU, the demo, mixed precision, kernels
# compiled or not, the largest batch, two processes on one card, and scmrl bench speed.
#
#     benchmarks/gpu.sh [WHEELS]
#
# A bare machine needs Python with torch for CUDA. What else is missing is installed from the folder WHEELS, or from the
# package index, into an environment of its own. Results are in OUT, or else in benchmarks/results/speed/DEVICE.
# DEVICE=cpu runs the same steps on the CPU with small models. The exit code is 1 if a step failed, 2 without a device.
set -uo pipefail
cd "$(dirname "$0")/.."

device=${DEVICE:-cuda}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python=${PYTHON:-python3}
name=$("$python" - "$device" <<'END'
import re
import sys

import torch

device = sys.argv[1]
if device == "cuda":
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
print(re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-"))
END
) || exit 2
if [ -z "$name" ]; then
    echo "no device: torch sees no GPU here; DEVICE=cpu runs the same steps on the CPU" >&2
    exit 2
fi

if ! "$python" -c "import scmrl_plugins, pytest, espeakng_loader" 2>"$work/missing"; then
    "$python" -m venv --system-site-packages "$work/venv" || exit 2
    python=$work/venv/bin/python
    "$python" -m pip install -q ${1:+--no-index --find-links "$1"} --no-build-isolation -e '.[test,demo]' || exit 2
fi

out=${OUT:-benchmarks/results/speed/$name}
mkdir -p "$out/log"
export SCMRL_CACHE=$work/cache
scmrl() { "$python" -m scmrl_plugins "$@"; }
failed=0

# step NAME SECONDS COMMAND...: its output goes to a log; one that fails does not stop the others
step() {
    local step=$1 limit=$(($2 * patience)) start=$SECONDS code=0
    shift 2
    BASH_ENV=$work/functions timeout "$limit" bash -c '"$@"' _ "$@" >"$out/log/$step.txt" 2>&1 || code=$?
    [ $code = 0 ] || failed=1
    printf '%-22s %-8s %4d s\n' "$step" "$([ $code = 0 ] && echo passed || echo "exit $code")" $((SECONDS - start)) |
        tee -a "$out/steps.txt"
}

patience=1
small=(--set dataset.images=300 --set dataset.test_pairs=1 --set train.epochs=1)
speed=(--profile --repeats 5 --batch 64 --threads 4)
if [ "$device" = cpu ]; then
    patience=8
    small+=(--set model.embed_dims=16 --set model.num_heads=2)
    speed=(--repeats 1 --batch 2 --image-size 32 --dims 32 --heads 2 --threads 1 --kernel-shape 2,2,4,8,8)
fi

train() { scmrl train --device "$device" "${small[@]}" "$@"; }
# The accuracy of the run on the device and on the CPU, and the largest difference of the probabilities
agree() {
    scmrl eval "$1" --device "$device" --predictions "$work/device.parquet" &&
        scmrl eval "$1" --device cpu --predictions "$work/cpu.parquet" &&
        "$python" - "$work/device.parquet" "$work/cpu.parquet" <<'END'
import sys

import numpy as np
import pandas

ours, theirs = (pandas.read_parquet(path) for path in sys.argv[1:])
scores = [name for name in ours if name.startswith("log_probability")]
assert scores, list(ours)
apart = np.abs(np.exp(ours[scores].to_numpy()) - np.exp(theirs[scores].to_numpy())).max(axis=1)
print(f"{len(ours)} samples, {(apart > 1e-3).mean():.2%} with a probability more than 0.001 apart, at most {apart.max():.3g}")
# In single precision a sum in another order moves some membrane across its threshold.
assert (apart > 1e-3).mean() < 0.05
END
}
# Two trainings that share the card, with one seed: each has the result of the other
beside() {
    train -o "$work/one" & train -o "$work/two" && wait $! &&
        "$python" -c "
import json, sys
ends = [[json.loads(line) for line in open(f'{run}/metrics.jsonl')][-1]['accuracy'] for run in sys.argv[1:]]
print(ends)
assert abs(ends[0] - ends[1]) < 0.05" "$work/one" "$work/two"
}
fp16() { [ "$device" = cpu ] || train --set train.precision=fp16 --set train.clip_grad=1 -o "$work/fp16"; }
never() { SCMRL_COMPILE=never train -o "$work/never"; }
always() { SCMRL_COMPILE=always train -o "$work/always"; }

# For the shells that timeout starts
{ declare -p python device work small && declare -f scmrl train agree beside fp16 never always; } >"$work/functions"
rm -f "$out/steps.txt"

step tests 120 "$python" -m pytest -q -n 0 tests/test_cuda.py
step demo 150 scmrl demo --device "$device" -o "$work/demo"
step numbers 60 agree "$work/demo"
step bf16 60 train --set train.precision=bf16 --set train.clip_grad=1 -o "$work/bf16"
step fp16 60 fp16
step compiled 90 always
step not-compiled 60 never
step two-processes 90 beside
step largest-batch 60 scmrl train --device "$device" --set train.batch_size=4096 --auto-batch --dry-run
step speed 240 scmrl bench speed --device "$device" "${speed[@]}" -o "$out"

echo "results: $out"
exit $failed
