// A sharded `findna embed`: the plan, a task for each part, and their merge.
//
//     nextflow run main.nf --regions peaks.bed --genome hg38.fa --shards 16 --outdir results

include { FINDNA_SPLIT } from './modules/findna/split/main'
include { FINDNA_EMBED } from './modules/findna/embed/main'
include { FINDNA_MERGE } from './modules/findna/merge/main'

params.shards = 4
params.outdir = 'results'

workflow {
    regions = Channel.value([[id: file(params.regions).baseName], file(params.regions, checkIfExists: true)])
    genome = Channel.value([[id: file(params.genome).baseName], file(params.genome, checkIfExists: true)])

    FINDNA_SPLIT(regions, genome, params.shards)
    shards = Channel.of(1..params.shards)
    FINDNA_EMBED(regions, genome, FINDNA_SPLIT.out.plan, shards, params.shards)
    FINDNA_MERGE(FINDNA_EMBED.out.part.groupTuple(size: params.shards))
}
