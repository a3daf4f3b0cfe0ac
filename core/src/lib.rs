//! Empty so far; ARCHITECTURE.md says what belongs here.
#![forbid(unsafe_code)]
