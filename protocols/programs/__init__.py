"""Sessions that evaluate a program on secret-shared inputs: the engine's protocol between real parties.

plan       who deals, who computes, who learns what, within which limits
questions  a job and the certified rows of each owner give one graph, whose digest is voted on
sizes      what a graph needs at the very least, before it is laid out
dealing    residue shares and key-set keys, sealed, provably consistent
start      which dealings count: one certificate for a generation of the committee
renouncing enough votes for no start at all: proof to owners that nothing is opened
gathering  a member's view of the dealings of one generation
computing  attempts, quorums, layers: the engine's evaluator over messages
recovery   a seat's registers for the substitute that takes it over
results    output shares, sealed to recipients; decoding with liars among them
keeping    what a member, and the asker, store to come back after a restart
voting, sitting, disputes, choosing   what the asker counts: ballots, who is here, who misses whom
member, owner, initiator, party   the roles, and the machine of one party
"""
