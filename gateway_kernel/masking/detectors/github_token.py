"""GitHub tokens: `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_` and `github_pat_`. The old 40-hexadecimal form is not found."""

from .detector import Detector

DETECTOR = Detector(
    name="github_token",
    pattern=rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",
    secret=True,
)

EXAMPLES = (
    ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789.", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "github_pat_11ABCDEFG0abcdefghijkl_mnop"),
)
COUNTER_EXAMPLES = ("ghp_short", "github_pattern_of_some_kind_here", "ghx_abcdefghijklmnopqrstuvwxyz0123456789")
