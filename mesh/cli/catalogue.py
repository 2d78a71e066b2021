"""Every error code and what it means, for `coppice explain`, offline. One table, nothing else.

1xx before start: settings, folders, keys, tickets to store · 2xx caused by received data · 3xx a session
ended without a result · 4xx the caller's mistake · 5xx network and control socket · 6xx data, policy,
statistics · 9xx bugs of ours. A test finds every code of the source here. 6xx that mesh/data explains
itself are taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping

_TICKET = "Ask for a new one (coppice invite), copy it whole and use it before it expires."
_BACKUP = "Restore the folder from a backup; without one, start afresh with another --home and a new ticket."
_WAIT = "Nothing to do: the node retries. If it stays, look at coppice peers and at the network in between."
_AGAIN = "Run the job again; coppice plan shows what it can lose."

CATALOGUE: Mapping[str, tuple[str, str]] = {
    "C-000": ("An error without a code of its own.", "Read its sentence; report it so that it gets one."),
    "C-100": ("Settings are wrong. All of them are listed.", "Correct each line, then: coppice config check"),
    "C-101": ("The command line is wrong.", "See the verb's --help."),
    "C-110": (
        "The network layer got impossible limits or times.",
        "See the [network] section of your profile.",
    ),
    "C-111": (
        "An address cannot be listened on: its port is in use, or not allowed, or not this machine's.",
        "Choose another port in network.listen, or stop the program that has it.",
    ),
    "C-112": ("A key has the wrong size for the network layer.", _BACKUP),
    "C-113": ("An address is malformed or names a host to listen on.", "Write /ip4/192.168.1.5/tcp/4710."),
    "C-114": ("The state folder misses a key or certificate of its mesh.", _BACKUP),
    "C-116": (
        "The journal cannot be written, so nothing more is promised to others. Often a full disk.",
        "Free some space and start the node again; it continues without contradicting itself.",
    ),
    "C-117": ("The journal cannot be opened.", "Free some space, or move a damaged journal.db away."),
    "C-119": (
        "The spool for masked vectors cannot be written.",
        "Free some space: a long vector needs its packed size for each device of the cluster.",
    ),
    "C-118": ("The journal lost the mesh's epoch record.", _BACKUP),
    "C-120": ("A name or site label is empty, too long or unprintable.", "Choose a short printable one."),
    "C-130": (
        "This node belongs to another mesh already.",
        "Join with a new folder: coppice init --home NEW.",
    ),
    "C-131": ("This node is a member of that mesh already.", "Just start it: coppice up --detach"),
    "C-140": (
        "The state folder is in use by another process: one folder, one node.",
        "coppice down, or give the second node another --home.",
    ),
    "C-141": ("The state folder cannot be made.", "Choose another one with --home DIR."),
    "C-142": ("There is no initialised state folder.", "coppice init --home DIR"),
    "C-143": ("Others own the state folder or may write to it.", "chmod 700 it, or choose another one."),
    "C-144": ("A file of the state folder is damaged.", _BACKUP),
    "C-145": ("A file of the state folder cannot be written; the old one is whole.", "Free some space."),
    "C-146": ("The named settings file does not exist.", "Name an existing TOML file."),
    "C-147": ("No free port was found.", "Name one: --listen /ip4/ADDRESS/tcp/PORT"),
    "C-150": (
        "The key file is open to other users, so its secrets may be known.",
        "chmod 600 it; if others could have read it, make a new node and have the old one removed.",
    ),
    "C-151": ("Keys exist already and are never overwritten.", "Use them, or choose another --home."),
    "C-152": ("The key file is damaged.", _BACKUP),
    "C-153": ("The passphrase of the key file is missing or wrong.", "Type it, or set COPPICE_PASSPHRASE."),
    "C-200": ("Another party sent something unacceptable.", "Nothing to do; the sentence says what and who."),
    "C-201": (
        "A message no honest program sends.",
        "Nothing to do; its signer is named if the signature was good.",
    ),
    "C-202": ("A message came early, late, or for an unknown session.", "Nothing to do; nobody is to blame."),
    "C-203": (
        "A party provably broke the protocol.",
        "Keep the evidence; talk to its owner; remove it from the mesh.",
    ),
    "C-204": (
        "A party looks wrong, but could have been framed.",
        "Nothing yet; repeated suspicion is worth a talk.",
    ),
    "C-205": (
        "Somebody lied and the redundancy does not tell who.",
        "Use a larger committee: committee.size.",
    ),
    "C-210": ("A certificate of another mesh.", "Check that both nodes joined the same mesh."),
    "C-211": ("A forged certificate.", "Find out who presents it; the operator did not sign it."),
    "C-212": ("A certificate expired.", "Join again with a new ticket; check the clock."),
    "C-213": (
        "A certificate from the future, or one for other keys.",
        "Check this machine's clock; else a new ticket.",
    ),
    "C-214": (
        "A member went back to an older certificate.",
        "Restart that member; its folder may be an old backup.",
    ),
    "C-220": ("The ticket is torn, mistyped or no ticket.", _TICKET),
    "C-221": ("The ticket is forged.", _TICKET),
    "C-222": ("The ticket expired.", _TICKET),
    "C-223": ("The inviter does not know the ticket.", _TICKET),
    "C-224": ("A join request does not prove that its sender holds the ticket.", _TICKET),
    "C-225": ("A join request is not signed by its applicant.", _TICKET),
    "C-226": ("The ticket was used already: one ticket, one device.", _TICKET),
    "C-227": (
        "The inviter has yet to accept; both compare the phrase first.",
        "Wait. On the inviter: coppice requests list, then coppice requests accept ID.",
    ),
    "C-228": ("The inviter said no.", "Talk to them; a new ticket is needed."),
    "C-229": ("Another member has this name.", "Start again under another: coppice init --name NAME."),
    "C-300": ("The session ended without a result.", _AGAIN),
    "C-301": (
        "Fewer sites contributed than the job or an owner's policy demands; nothing was opened.",
        "Start the missing nodes, or lower --min-sites as far as the owners' policies allow.",
    ),
    "C-302": ("Too many committee members left or lied for the total to be opened.", _AGAIN),
    "C-303": ("The plan's time ran out.", "Raise --timeout, or look for the slow site with coppice peers."),
    "C-304": ("A new epoch replaced the session's.", _AGAIN),
    "C-305": ("A party said no; its reason is in the sentence.", "Ask the owner, who decides by policy."),
    "C-306": ("The node or the job did not answer in time. It may still be at it.", "coppice jobs list"),
    "C-400": (
        "A function was called against its contract: a bug of ours or of a calling program.",
        "Report it.",
    ),
    "C-402": ("A request to the control API is malformed.", "Correct the field that the sentence names."),
    "C-404": (
        "There is nothing of that name.",
        "List what there is: coppice jobs list, data list, requests list.",
    ),
    "C-405": ("The job has not ended yet.", "coppice jobs watch JOB"),
    "C-406": ("As many jobs run as this node allows.", "Wait for one to end, or cancel one."),
    "C-500": ("The network failed.", _WAIT),
    "C-501": ("There is no link to that peer now.", _WAIT),
    "C-502": ("A link broke.", _WAIT),
    "C-503": ("A peer cannot be reached by any of its addresses.", _WAIT),
    "C-504": (
        "A guest (somebody joining) went beyond what guests may do.",
        "Nothing to do; it was disconnected.",
    ),
    "C-505": (
        "One side refused the other; the reason is in the sentence.",
        "Check certificates and the ticket.",
    ),
    "C-506": (
        "A connection broke while it was set up: often another network key.",
        "Join with a ticket of this mesh.",
    ),
    "C-507": ("Two nodes dialled each other at once; the other connection stays.", "Nothing to do."),
    "C-510": ("No node answers on the control socket.", "coppice up --detach"),
    "C-511": ("The control socket cannot be made.", "Free some space or repair the folder's permissions."),
    "C-512": (
        "The node gave an answer that this program does not understand.",
        "Are both of one version? coppice version",
    ),
    "C-600": ("Something about the owner's files is wrong.", "The sentence names file, row and column."),
    "C-640": ("A model and its weights do not fit together.", "Use weights of this very model."),
    "C-641": (
        "A model's weights do not descend from the round before.",
        "Go on from the latest certified round.",
    ),
    "C-642": ("A site's rows cannot be trained on: none, too many, or not finite.", "Correct these rows."),
    "C-643": ("Labels are not of the kind that the model takes.", "Correct them, or choose another model."),
    "C-644": ("Values of a training round are out of range.", "Use a smaller rate, or scale the columns."),
    "C-645": ("A training plug-in is missing or failed.", "The sentence says which; see the node's log."),
    "C-646": ("What was given to the model does not have its shape.", "Give the columns it was trained on."),
    "C-647": ("The privacy budget does not suffice.", "Ask for fewer rounds, or ask the owners."),
    "C-648": ("A model or result cannot be written so.", "The sentence says what the format lacks."),
    "C-649": ("A training run was asked for that makes no sense.", "Correct the option that is named."),
    "C-660": ("A model file cannot be read.", "Export the model as one ONNX file, weights inside."),
    "C-661": ("Reading model files needs the package onnx.", "pip install 'coppice-mesh[onnx]'"),
    "C-662": ("A model that committees do not compute.", "coppice models check FILE names alternatives."),
    "C-670": ("A value lies outside the range that a program declares.", "Clip it, or ask with --range."),
    "C-671": ("Columns of a program have different rows.", "Fill missing values, align the rows."),
    "C-672": ("No site has a value for the program.", "Ask for a column that has values."),
    "C-673": ("A program is not the one that was approved.", "Submit the graph whose digest owners allow."),
    "C-900": ("A bug of ours.", "The log has the traceback: report it."),
}


def lookup(code: str) -> tuple[str, str] | None:
    """Meaning and fix of a code, or None."""
    found = CATALOGUE.get(code)
    if found is None and code.startswith("C-6"):
        from mesh.data.errors import CODES

        if code in CODES:
            return CODES[code], "The sentence that came with it names file, row and column, and the fix."
    return found


def codes() -> tuple[str, ...]:
    """All codes there are, in order."""
    from mesh.data.errors import CODES

    return tuple(sorted({*CATALOGUE, *CODES}))
