#!/bin/bash
# Submit a sharded `findna embed` as a Slurm array, and the merge of its parts, which waits for all tasks.
#
#     findna split regions.bed --genome hg38.fa -n 5000 -o plan.json
#     embed_slurm.sh 5000 vectors.h5 regions.bed --genome hg38.fa --plan plan.json
#
# An array has at most TASKS tasks; a task does the shards TASK, TASK + TASKS, TASK + 2 TASKS, ... one after the other.
# TASKS is 1,000 by default, and never more than the cluster's MaxArraySize allows.
#
# SBATCH_FLAGS: flags for sbatch, such as "--cpus-per-task=8 --mem=8G --time=4:00:00 --partition=short".
# MERGE_FLAGS: flags for findna merge, such as "--virtual".
# If tasks failed, run the same line again: finished parts are kept, partial parts resume.
set -euo pipefail

export SHARDS=$1 OUT=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a flags <<<"${SBATCH_FLAGS:-}"

tasks=${TASKS:-1000}
largest=$(scontrol show config | awk '$1 == "MaxArraySize" {print $3 - 1}') # the largest index of a task
((largest >= 1)) || { echo "embed_slurm.sh: this cluster has no job arrays (MaxArraySize)" >&2 && exit 1; }
((tasks <= largest)) || tasks=$largest
((tasks <= SHARDS)) || tasks=$SHARDS
export TASKS=$tasks MERGE_FLAGS="${MERGE_FLAGS:-}"

array=$(sbatch --parsable --array="1-$tasks" --export=ALL ${flags[@]+"${flags[@]}"} "$here/embed.sbatch" "$@")
sbatch --parsable --export=ALL --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes "$here/merge.sbatch"
