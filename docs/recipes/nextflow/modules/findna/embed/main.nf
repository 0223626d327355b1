process FINDNA_EMBED {
    tag "$meta.id"
    label 'process_medium'

    input:
    tuple val(meta), path(inputs)
    tuple val(meta2), path(genome)
    tuple val(meta3), path(plan)
    each shard
    val shards

    output:
    tuple val(meta), path("*.part*of*.h5"), emit: part
    path "versions.yml", emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    def reference = genome ? "--genome ${genome}" : ''
    """
    findna embed ${inputs} ${reference} --plan ${plan} --shard ${shard}/${shards} ${args} \\
        --threads ${task.cpus} --quiet --out ${prefix}.part${shard}of${shards}.h5

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        findna: \$(findna --version | sed 's/findna //')
    END_VERSIONS
    """
}
