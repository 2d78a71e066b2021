"""Programs on secret-shared vectors, evaluated by one committee in rounds.

The protocol, from the bottom up (docs of each module hold the details and the proof sketches):

 1. `sharing.prss`        keys of sets of n-t parties; a draw of theirs is a replicated sharing, which
                          is a Shamir sharing after a local, linear conversion.
 2. `sharing.replicated`  integer masks, additive zeros.
 3. `committee`           who sends in which round, and a party's seat: its streams of masks.
 4. `opening`             v = sum of summands, each hidden by an additive zero.
 5. `multiply`            xy + r opened once; truncation comes with it.
 6. `binary`, `carry`     64 lanes a word; shared bits (`bitshares`); the carry of a sum of masked terms.
 7. `compare`, `randombit`, `dealtbit`  from a masked opening to a shared bit, and back into the field;
    `lookahead` saves rounds, `decompose` gives all bits and exact floors.
 8. `program`             steps, their layers, exact cost; `evaluator` runs one layer a round.
 9. `assembler`, `numbers`  writing programs; scale and range of every value.
10. `functions`, `ordering`  exp, reciprocal, sigmoid ...; maximum, sort.

11. `checked`, `pieces`   the openings of mode A.

State. Between two layers a party holds registers and nothing else: (layer number, registers) is what
is journalled. Shares in Shamir form can be reshared to a new committee; bits over Z_2 and masks
cannot, so a layer before which only Shamir shares and public values are alive is a checkpoint. A
member that falls silent is replaced from there by one outside the quorum, which followed along.

Security (mode P). At most t members are corrupted and follow the protocol. Every message is a
summand of an opened value plus an additive zero, and every opened value is uniform (field and bit
openings) or within 2^-KAPPA of independent of the secret (integer masks). Given the opened values, the
corrupted members' views are simulated: draw each opened value from its distribution, give the honest
members' summands as uniform vectors that add up to it. Outputs are degree-t sharings.

Security (mode A, n >= 3t+1). The same programs with openings in which every lie is noticed at once by every
honest member it reaches: `checked` (field values; states the argument) and `pieces` (bits). At most t members
deviate in any way; then no output is opened, and what honest members sent says nothing about secrets.
"""
