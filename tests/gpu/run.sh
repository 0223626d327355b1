#!/usr/bin/env bash
# What a GPU must settle, in at most 8 minutes: which code runs, whether it is right, how fast it is.
#
#   OUT=report bash tests/gpu/run.sh          # on a GPU; all logs and JSON files go to $OUT
#   OUT=report bash tests/gpu/run.sh cpu      # the same steps at a tiny size, on a machine without a GPU
#   SCALE=6 OUT=report bash tests/gpu/run.sh cpu      # with 6 times as much time, on a busy machine
#
# It needs findna's core packages and pytest. Copy $OUT/measured.tsv to findna/nn/measured.tsv to make findna take
# the ways that were fastest; docs/speed.md gets its GPU table from the JSON files.
set -u
cd "$(dirname "$0")/../.." || exit 1
DEVICE=${1:-cuda} OUT=$(realpath -m "${OUT:-gpu-report}") SCALE=${SCALE:-1}
LIMIT=$((480 * SCALE))
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$OUT"
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
FINDNA="python3 -W ignore -m findna_cli"
N_FAILED=0

# step SECONDS NAME COMMAND...: run it, keep its log, show the end of it; never beyond the limit of the whole script.
step() {
    local left=$((LIMIT - SECONDS)) seconds=$(($1 * SCALE)) name=$2 began=$SECONDS code
    shift 2
    if ((left < 5)); then echo "== $name: no time left"; N_FAILED=$((N_FAILED + 1)); return; fi
    timeout -k 5 $((seconds < left ? seconds : left)) "$@" >"$OUT/$name.log" 2>&1
    code=$?
    ((code == 0)) || N_FAILED=$((N_FAILED + 1))
    echo "== $name: exit code $code, $((SECONDS - began)) s"
    tail -n "${LINES_SHOWN:-12}" "$OUT/$name.log"
}

if [[ $DEVICE == cuda ]]; then
    SPEED=(--size base,small --precision bf16 --n-bases 131072 --rounds 2) PRESET=base N_WINDOWS=4096 BATCH=256 STEPS=24
else
    SPEED=(--size tiny --precision fp32 --n-bases 8192 --rounds 1) PRESET=tiny N_WINDOWS=48 BATCH=8 STEPS=4
fi
python3 - "$N_WINDOWS" >"$WORK/windows.fa" <<'PY'
import random, sys
draw = random.Random(1)
for i in range(int(sys.argv[1])):
    print(f">w{i}\n{''.join(draw.choices('ACGT', k=1000))}")
PY

step 20 1-environment bash -c "nvidia-smi --query-gpu=name,memory.total,clocks.sm,driver_version --format=csv,noheader; command -v gcc; $FINDNA doctor"
step 40 2-chosen python3 -W ignore - "$DEVICE" <<'PY'
import sys, torch
from findna.sizes import SIZES
from findna.nn.device import BF16, BF16_STREAM, FP32
from findna.nn.kernels import choose, find_way, deviations, WAYS
device = torch.device(sys.argv[1])
for size in SIZES:
    for precision in (BF16, BF16_STREAM, FP32):
        for is_training in (False, True):
            chosen = choose(SIZES[size], device=device, precision=precision, is_training=is_training)
            print(size, precision.name, "training" if is_training else "inference", chosen)
for way in WAYS if device.type == "cuda" else ("plain",):
    config = SIZES["base"]
    print(way, deviations(find_way(way), config.channels, config.hidden, device=device, precision=BF16))
PY
step 90 3-tests python3 -m pytest -o addopts= -q -x --maxfail=8 -p no:cacheprovider tests/gpu
if [[ $DEVICE == cuda ]]; then
    LINES_SHOWN=40 step 80 4-tilings python3 tests/benchmarks/bench_kernels.py
fi
for way in plain triton compile; do
    [[ $DEVICE == cuda || $way == plain ]] || continue
    step 55 "5-speed-$way" env FINDNA_KERNELS=$way $FINDNA benchmark speed --device "$DEVICE" "${SPEED[@]}" --quiet --json "$OUT/speed-$way.json"
done
CAPABILITY=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability() if torch.cuda.is_available() else "0")')
step 10 6-table bash -c "python3 tests/gpu/table.py $CAPABILITY $OUT/speed-*.json | tee $OUT/measured.tsv"
step 25 7-embed $FINDNA embed "$WORK/windows.fa" --device "$DEVICE" --quiet -o "$WORK/e.h5" --json "$OUT/embed.json"
step 20 8-host python3 -W ignore tests/benchmarks/bench_host.py 20000 2
step 35 9-pretrain-batch $FINDNA pretrain "$WORK/windows.fa" --preset $PRESET --device "$DEVICE" --batch-size $BATCH --steps $STEPS --n-held-out 16 --n-reports 1 -o "$WORK/r1" --json "$OUT/pretrain-batch.json"
[[ $DEVICE == cuda ]] && PRESET=small
step 30 10-pretrain-default $FINDNA pretrain "$WORK/windows.fa" --preset $PRESET --device "$DEVICE" --steps $STEPS --n-held-out 16 --n-reports 1 -o "$WORK/r2" --json "$OUT/pretrain-default.json"
if command -v ncu >/dev/null && [[ $DEVICE == cuda ]]; then
    LINES_SHOWN=60 step 45 11-counters env FINDNA_KERNELS=triton ncu --clock-control none --section SpeedOfLight --section Occupancy \
        -k "regex:_forward|_backward" -c 3 python3 -m findna_cli pretrain "$WORK/windows.fa" --preset base --device cuda \
        --batch-size 64 --steps 1 --n-held-out 1 --n-reports 1 -o "$WORK/r3"
fi
echo "$N_FAILED steps failed; $SECONDS s; reports are in $OUT"
((N_FAILED == 0))
