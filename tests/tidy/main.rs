//! The house rules, as tests: crate edges, file headers, room sizes, where `unsafe` may stand, and
//! that the README's code map names every room. Reads the source tree as text; changes nothing.

mod edges;
mod rooms;
mod seam;
mod sources;
mod words;
