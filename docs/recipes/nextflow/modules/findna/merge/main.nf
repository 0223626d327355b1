process FINDNA_MERGE {
    tag "$meta.id"
    label 'process_single'

    input:
    tuple val(meta), path(parts)

    output:
    tuple val(meta), path("${task.ext.prefix ?: meta.id}.h5"), emit: merged
    path "versions.yml", emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    findna merge ${parts} ${args} --quiet --out ${prefix}.h5

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        findna: \$(findna --version | sed 's/findna //')
    END_VERSIONS
    """
}
