//! A checksum for every record. SQLite detects damage to the structure of its file, but not a flipped bit in a value;
//! the checksum does.

/// FNV-1a over the parts, each preceded by its length. Every step is a bijection of the state, so any single changed
/// byte changes the sum. It protects against faulty disks, not against people.
pub(super) fn checksum(parts: &[&[u8]]) -> i64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for part in parts {
        feed(&(part.len() as u64).to_le_bytes());
        feed(part);
    }
    sum.cast_signed()
}

/// The checksum of an entry.
pub(super) fn of_entry(key: &str, value: &[u8], create_revision: i64, mod_revision: i64) -> i64 {
    checksum(&[key.as_bytes(), value, &create_revision.to_le_bytes(), &mod_revision.to_le_bytes()])
}

/// The checksum of a change in the history; a change without a value is a deletion.
pub(super) fn of_change(revision: i64, position: i64, key: &str, value: Option<&[u8]>, create_revision: i64) -> i64 {
    let (kind, value): (&[u8], &[u8]) = match value {
        Some(value) => (b"put", value),
        None => (b"delete", b""),
    };
    let numbers = [revision.to_le_bytes(), position.to_le_bytes(), create_revision.to_le_bytes()].concat();
    checksum(&[kind, key.as_bytes(), value, &numbers])
}

/// The checksum of one of the store's counters.
pub(super) fn of_number(name: &str, number: i64) -> i64 {
    checksum(&[name.as_bytes(), &number.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_changes_the_checksum() {
        let value = b"{\"live\":\"blue\"}".to_vec();
        let whole = of_entry("/apps/shop", &value, 3, 9);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of_entry("/apps/shop", &flipped, 3, 9), whole, "bit {bit}");
        }
        assert_ne!(of_entry("/apps/shoq", &value, 3, 9), whole);
        assert_ne!(of_entry("/apps/shop", &value, 3, 8), whole);
        assert_ne!(of_change(1, 0, "k", None, 0), of_change(1, 0, "k", Some(b""), 0));
        assert_ne!(of_number("revision", 3), of_number("revision", 4));
        assert_ne!(of_number("revision", 3), of_number("compacted", 3));
    }
}
