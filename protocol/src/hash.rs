//! The hash that places a key: on a partition of a stream, on a lane of a route.

/// XXH3 with 64 bits and no seed, as welcome announces it by the name `xxh3`.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
