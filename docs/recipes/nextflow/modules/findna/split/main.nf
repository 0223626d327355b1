process FINDNA_SPLIT {
    tag "$meta.id"
    label 'process_single'

    input:
    tuple val(meta), path(inputs)
    tuple val(meta2), path(genome)
    val shards

    output:
    tuple val(meta), path("*.plan.json"), emit: plan
    path "versions.yml", emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    def reference = genome ? "--genome ${genome}" : ''
    """
    findna split ${inputs} ${reference} -n ${shards} ${args} --quiet --out ${prefix}.plan.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        findna: \$(findna --version | sed 's/findna //')
    END_VERSIONS
    """
}
