#!/usr/bin/env bash
# Builds what a GPU machine without a Rust toolchain needs, and packs it into gpu-bundle/: the tests of the reference
# values, the throughput example and the training example, stripped, for one backend. They go into one archive with a
# window as large as all of them: most of each is Burn, the same in all.
#
#     tools/gpu/bundle.sh cuda|vulkan
#
# With NVRTC=1 CUDA kernels are compiled by NVRTC, and no LLVM is downloaded to build their compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."

backend="${1:?cuda or vulkan}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/burn-mcl/target}-$backend"
features="burn-mcl/$backend,burn-mcl/persistence"
config=()
if [ "$backend" = cuda ] && [ -n "${NVRTC:-}" ]; then
    # The patch changes the lock file: work on a copy of it.
    cp Cargo.lock Cargo.lock.kept
    trap 'mv Cargo.lock.kept Cargo.lock' EXIT
    features="$features,burn-mcl-gpu/nvrtc"
    config=(--config "patch.crates-io.cubecl-llvm.path='$PWD/tools/gpu/cubecl-llvm'")
    export CUDARC_CUDA_VERSION="${CUDARC_CUDA_VERSION:-13000}"
fi

bundle="gpu-bundle/$backend"
rm -rf "$bundle"
mkdir -p "$bundle/programs"
both=("${config[@]}" --release --workspace --features "$features" --message-format json)
{
    cargo test "${both[@]}" --no-run --test golden --test on_device
    cargo build "${both[@]}" --example throughput --example train_cifar10
} | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        package = message["package_id"].split("/")[-1].split("#")[0]
        print(package, message["target"]["name"], message["executable"])
' | while read -r package name executable; do
    case "$name" in golden | on_device) name="$package-$name" ;; esac
    strip -o "$bundle/programs/$name" "$executable"
done
echo "Packing $(du -sh "$bundle/programs" | cut -f 1), some minutes ..."
tar -C "$bundle" -c programs | xz --x86 --lzma2=preset=6,dict=768MiB >"$bundle/programs.tar.xz"
rm -r "$bundle/programs"
cp tools/gpu/run.sh "$bundle/"
pwd >"$bundle/built-at" # The tests open their reference values by this path.
ls -l "$bundle"
