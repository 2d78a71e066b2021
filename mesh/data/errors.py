"""Errors about an owner's data, schema, policy and ledger, and what each code means.

Invariant: a message names the file, the row and the column but never the value of a cell: rows stay on
this device, and messages travel into logs.
"""

from __future__ import annotations

from protocols.errors import ConfigError

CODES: dict[str, str] = {
    "C-601": "The data file is not there or cannot be read.",
    "C-602": "The data file is empty or has a header only.",
    "C-603": "The data file is not UTF-8 text.",
    "C-604": "The data file is no well-formed CSV: a row with too many or too few cells, or an open quote.",
    "C-605": "The header is missing, has an unnamed column or names a column twice.",
    "C-606": "A cell of a numeric column holds something that is not a number.",
    "C-607": "A cell is empty and the schema does not say that rows without it may be skipped.",
    "C-608": "A value is outside the range that the schema gives, or is not finite.",
    "C-609": "The data file is larger than the limit.",
    "C-610": "The data set has no such column, or the column is not numeric.",
    "C-611": "The schema file is wrong.",
    "C-612": "No data set of that name is registered on this node.",
    "C-613": "The name of a data set is taken or not allowed.",
    "C-614": "The data file changed since it was added.",
    "C-615": "The catalogue of data sets cannot be read or written.",
    "C-620": "The policy or job file is wrong.",
    "C-621": "The owner's policy denies the job.",
    "C-622": "The ledger of what was revealed cannot be read or written, or was tampered with.",
    "C-623": "A contribution was asked for a plan that the owner's policy has not approved.",
    "C-630": "There is no statistic of that name.",
    "C-631": "The statistic does not take these parameters.",
    "C-632": "A value cannot be encoded: not finite, or larger than 2^62.",
    "C-633": "The opened total is not one that honest contributions can add up to.",
    "C-640": "A model, or the job about it, does not match: another kind, size or label.",
    "C-641": "The weights of a round do not follow from the certified total of the round before.",
    "C-642": "A site's rows cannot be trained on: none, too many, or some values missing.",
    "C-643": "A label is not one of the classes.",
    "C-644": "An update or a model holds NaN or infinity; often it diverged.",
    "C-645": "A plug-in is not installed, failed, or gave something else than numbers and a weight.",
    "C-646": "A job's public input is missing, too large, or not the one that was named.",
    "C-647": "The privacy budget of a data set would be overspent, or a job without noise asks for it.",
    "C-648": "A model cannot be written in that format.",
    "C-649": "A training run was asked for that makes no sense.",
    "C-650": "The vaults of this node cannot be read or written.",
    "C-651": "A data set cannot be shared like that: holders, columns, rows, rules or bins.",
    "C-652": "A vault of that name was shared by this node already.",
    "C-653": "Several vaults have that name.",
    "C-655": "A job names vaults in a way that cannot be added up.",
    "C-654": "Nobody who is here holds such a vault, or it was erased.",
}


class DataError(ConfigError):
    """Something about the owner's files is wrong; nothing was contributed."""

    code = "C-600"
