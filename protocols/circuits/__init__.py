"""Programs as people write them: traced, checked, hashed, costed, and lowered to the engine's steps.

graph     typed nodes; canonical CBOR, whose digest is what owners approve
builder   numpy-like tracing:  y = relu(x @ w + b); reveal_to(y, "clinic")
passes    dead nodes, repeated nodes, sums of products opened once
lower     a graph for one committee becomes an engine program
layers    neural-network operations; `network` compiles a model, `windows` is the geometry of convolutions
cost      rounds, bytes, memory and seconds on given links, before anything runs
"""
