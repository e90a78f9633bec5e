//! Venue connectors, replay of captured frames, normalising, gap and staleness detection.
