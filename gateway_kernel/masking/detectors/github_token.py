"""GitHub tokens: `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_` and `github_pat_`. The old 40-hexadecimal form is not found."""

from .detector import Detector

DETECTOR = Detector(
    name="github_token",
    anchors=(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
    pattern=rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",
    secret=True,
)

EXAMPLES = (
    ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789.", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "github_pat_11ABCDEFG0abcdefghijkl_mnop"),
)
COUNTER_EXAMPLES = ("ghp_short", "github_pattern_of_some_kind_here", "ghx_abcdefghijklmnopqrstuvwxyz0123456789")
