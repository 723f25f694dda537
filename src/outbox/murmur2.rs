//! The partition of a key, as Apache Kafka's Java clients choose it.

/// `MurmurHash2` (32 bits, seed `0x9747b28c`) as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
///
/// The result is the bit pattern of Java's `int`; cast it to `i32` to compare with Java.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's length is an `int`; a key is never that long, and the truncation is what Java's arithmetic would do.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = word
            .iter()
            .rev()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// The partition of `key` among `partitions`, equal to what the default partitioner of the Java client chooses.
///
/// `partitions` of 0 is taken as 1.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Apache Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn agrees_with_the_java_client() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partition_is_in_range_and_uses_the_positive_part() {
        // The hash of "21" is negative in Java; without its sign bit it is 1,173,511,340.
        assert_eq!(partition_of(b"21", 1000), 340);
        assert!((0_u32..1000).all(|n| partition_of(&n.to_be_bytes(), 7) < 7));
        assert_eq!(partition_of(b"abc", 0), 0);
    }
}
