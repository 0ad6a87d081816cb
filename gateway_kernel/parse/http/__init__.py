"""HTTP requests: their one normalised form, their facts, what rewriting and masking mean for them. No wire format is read here."""
