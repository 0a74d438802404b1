//! FORMAT.md says what the code does: numbers and the worked example are checked against it.
