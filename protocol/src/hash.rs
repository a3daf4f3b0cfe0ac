//! The hash that places a key: on a partition of a stream, on a lane of a route.

use std::num::NonZeroU32;

/// XXH3 with 64 bits and no seed, as welcome announces it by the name `xxh3`.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The partition of a stream that a key belongs to: the remainder of its hash.
#[must_use]
pub fn partition_of(key: &[u8], partitions: NonZeroU32) -> u32 {
    u32::try_from(key_hash(key) % u64::from(partitions.get())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_partition_that_other_clients_compute() {
        let partitions = NonZeroU32::new(12).expect("twelve is not zero");
        // The vectors of XXH3 with 64 bits: of nothing 0x2d06800538d394c2.
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(u64::from(partition_of(b"", partitions)), 0x2d06_8005_38d3_94c2_u64 % 12);
        for number in 0..1000_u32 {
            assert!(partition_of(&number.to_le_bytes(), partitions) < 12);
        }
    }
}
