"""Speed, as ratios within one run: the gateway against a direct connection and against its peers, interleaved."""
