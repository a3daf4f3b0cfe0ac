//! Clients: publishers with an identity, and members of the group.

mod member;
mod producer;

pub(crate) use member::Member;
pub(crate) use producer::Producer;
