#!/bin/bash
# Submit a sharded `findna embed` as a Slurm array, and the merge of its parts, which waits for all of them.
#
#     embed_slurm.sh 16 vectors.h5 regions.bed --genome hg38.fa
#
# Flags for sbatch stand in SBATCH_FLAGS: "--cpus-per-task=8 --mem=8G --time=4:00:00 --partition=short".
# When tasks failed, run the same line again: parts that are done are not made again, others are continued.
set -euo pipefail

shards=$1 out=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a flags <<<"${SBATCH_FLAGS:-}"

array=$(
    sbatch --parsable --array="1-$shards" --export="ALL,SHARDS=$shards" ${flags[@]+"${flags[@]}"} \
        "$here/embed.sbatch" "$out" "$@"
)
parts=()
for ((i = 1; i <= shards; i++)); do
    parts+=("$(printf %q "${out%.h5}.part${i}of$shards.h5")")
done
sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes --job-name=findna-merge \
    --output=findna-merge-%j.log --wrap="findna merge ${parts[*]} --out $(printf %q "$out")"
