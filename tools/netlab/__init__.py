"""Many sites on one machine: real daemons in network namespaces behind a router that delays, loses and cuts.

    python -m tools.netlab run configs/labs/three-hospitals.toml [--short] [--json]
    python -m tools.netlab clean

Every answer is compared with the plaintext over the roster that it claims; every abort must say why and must
be true of everybody's records. Needs root, network namespaces and TUN devices; the host's own interfaces are
never touched.
"""
