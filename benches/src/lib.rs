//! Criterion benches of the packet path; see `benches/`.
