"""Sessions that evaluate a program on secret-shared inputs: the engine's protocol between real parties.

plan       who deals, who computes, who learns what, within which limits
questions  a job and the certified rows of each owner give one graph, whose digest is voted on
dealing    residue shares and key-set keys, sealed, provably consistent
start      which dealings count: one certificate for a generation of the committee
gathering  a member's view of the dealings of one generation
computing  attempts, quorums, layers: the engine's evaluator over messages
recovery   a seat's registers for the substitute that takes it over
results    output shares, sealed to recipients; decoding with liars among them
member, owner, initiator, party   the roles, and the machine of one party
"""
