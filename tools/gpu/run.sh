#!/usr/bin/env bash
# On the GPU machine, from the root of a copy of the repository:
#
#     gpu-bundle/cuda/run.sh [goldens|throughput|train [options of the training example]]
#
# Without arguments: goldens, then throughput. Results are printed, and left under ${OUT:-gpu-results}.
set -uo pipefail
bundle="$(cd "$(dirname "$0")" && pwd)"
backend="$(basename "$bundle")"
out="${OUT:-gpu-results}"
work="${TMPDIR:-/tmp}/burn-mcl-$backend"
bin="$work/programs"
mkdir -p "$out" "$work"

if [ ! "$work/unpacked" -nt "$bundle/programs.tar.xz" ]; then
    rm -rf "$bin"
    xz -dc "$bundle/programs.tar.xz" | tar -C "$work" -x && touch "$work/unpacked" || exit 1
fi

# Where the CUDA libraries and headers are, and compiled kernels kept from one program to the next.
export CUDA_PATH="${CUDA_PATH:-/usr/local/cuda}"
export LD_LIBRARY_PATH="$CUDA_PATH/lib64:${LD_LIBRARY_PATH:-}"
cat >cubecl.toml <<TOML
[compilation]
cache = true
[environment]
path = { directory = "$work/kernels" }
TOML

case "${1:-all}" in
    all)
        "$0" goldens
        goldens=$?
        "$0" throughput && exit "$goldens"
        ;;
    goldens)
        built_at="$(cat "$bundle/built-at")"
        [ -e "$built_at" ] || { mkdir -p "$(dirname "$built_at")" && ln -s "$PWD" "$built_at"; }
        {
            failed=0
            for test in "$bin"/*-golden "$bin"/*-on_device; do
                echo "== $(basename "$test")"
                CUBECL_AUTOTUNE_LEVEL=minimal BURN_DEVICE="${backend/vulkan/wgpu}" "$test" --skip f64 2>&1 || failed=1
            done
            exit "$failed"
        } | tee "$out/goldens-$backend.txt"
        ;;
    throughput)
        {
            failed=0
            for depth in 18 34; do
                for dtype in f32 bf16; do
                    echo "== ResNet-$depth, $dtype: here, then PyTorch, then both again"
                    for _ in 1 2; do
                        "$bin/throughput" --depth "$depth" --dtype "$dtype" 2>&1 || failed=1
                        python3 tools/gpu/throughput.py --depth "$depth" --dtype "$dtype" 2>&1 || failed=1
                    done
                done
            done
            exit "$failed"
        } | tee "$out/throughput-$backend.txt"
        ;;
    train)
        shift
        "$bin/train_cifar10" "$@" 2>&1 | tee "$out/train-$backend.txt"
        ;;
    *)
        echo "goldens, throughput or train" >&2
        exit 2
        ;;
esac
