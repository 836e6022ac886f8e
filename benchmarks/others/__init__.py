"""Other people's programs: models of published packages, as their users write them.

Each module needs the package it is named for (`pip install memline[programs]`), so that it is imported
only when one of its programs is asked for.
"""

OTHERS: dict[str, str] = {
    "equinox-unrolled": "benchmarks.others.equinox_transformer:UNROLLED",
    "equinox-scanned": "benchmarks.others.equinox_transformer:SCANNED",
    "nnx-unrolled": "benchmarks.others.nnx_transformer:UNROLLED",
    "nnx-scanned": "benchmarks.others.nnx_transformer:SCANNED",
    "haiku-resnet": "benchmarks.others.haiku_resnet:RESNET",
    "gpjax-sparse": "benchmarks.others.gpjax_sparse:SPARSE",
    "diffrax-gradient": "benchmarks.others.diffrax_gradient:SOLVE",
    "ott-sinkhorn": "benchmarks.others.ott_sinkhorn:SINKHORN",
    "numpyro-mixture": "benchmarks.others.numpyro_mixture:MIXTURE",
    "blackjax-chains": "benchmarks.others.blackjax_chains:CHAINS",
    "jraph-messages": "benchmarks.others.jraph_messages:MESSAGES",
}
"""Where each program is found, by name, in the order of the table."""
