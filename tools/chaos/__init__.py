"""Rough handling of real processes: kills and pauses at random moments, and what a node costs at rest.

    python -m tools.chaos kills --runs 100 --seed 1 --json
    python -m tools.chaos restarts --runs 50
    python -m tools.chaos pauses --runs 30
    python -m tools.chaos storm --faults 1000
    python -m tools.chaos soak --jobs 480
    python -m tools.chaos price --runs 20 --pauses
    python -m tools.chaos idle --seconds 20

Every answer is compared with the plaintext over the roster that it claims; every abort must say why and
must be true: no journal of anybody may show that session opened.
"""
