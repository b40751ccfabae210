"""What to do where no row is left to train on."""

from collections import Counter

from tasks.data.quality import ALIKE, SENSITIVE

# By the reason that most rows were left out for; other reasons are filters.
_REMEDIES = {
    "longer than max_length": "raise data.max_length, or set data.overlong",
    "its answer lies beyond max_length": "raise data.max_length",
    "also in the validation files": "take the rows of data.train_files out of data.validation_files",
    "in the evaluation": "give other rows, or set data.decontamination: report",
    "left out by the weight of its source": "raise the weight of the source",
    ALIKE: "set data.sensitive: report, or drop",
    SENSITIVE: "set data.sensitive: redact",
}


def remedy(dropped: Counter[str]) -> str:
    """What brings back the rows that most were left out for."""
    if not dropped:
        return "mend the rows: data.max_bad_rows lets all of them be bad"
    return _REMEDIES.get(max(dropped, key=dropped.__getitem__), "loosen data.filters")
