//! Criterion benches of the hot paths live in this package's `benches/` targets.
