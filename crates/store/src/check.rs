//! Limits of keys, values and transactions. They are etcd's defaults (128 operations, requests of 1.5 MiB), so that
//! nothing works with one store and fails with another.

use crate::{Compare, Op, StoreError, Txn};
use std::collections::BTreeSet;

/// The longest key, and the longest prefix, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The largest total of the values of one transaction, in bytes.
pub const TXN_BYTES_MAX: usize = VALUE_BYTES_MAX + (VALUE_BYTES_MAX >> 2);

/// The maximum of comparisons, and of operations, in one transaction.
pub const TXN_OPS_MAX: usize = 128;

/// Rejects an invalid key.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Invalid("a key must not be empty".to_owned()));
    }
    check_prefix(key)
}

/// Rejects a prefix that no key can begin with. Every key begins with the empty prefix.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.len() > KEY_BYTES_MAX {
        let shown: String = prefix.chars().take(40).collect();
        return Err(StoreError::Invalid(format!(
            "the key {shown:?}… has {} bytes; the most is {KEY_BYTES_MAX}",
            prefix.len()
        )));
    }
    if prefix.contains('\0') {
        return Err(StoreError::Invalid(format!("the key {prefix:?} contains a NUL character")));
    }
    Ok(())
}

impl Txn {
    /// Rejects a transaction that no store accepts: invalid keys, sizes over the limits, or a key that is changed
    /// twice.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.ops.len() > TXN_OPS_MAX || self.compares.len() > TXN_OPS_MAX {
            return Err(StoreError::Invalid(format!(
                "the transaction has {} comparisons and {} operations; the most is {TXN_OPS_MAX} of each",
                self.compares.len(),
                self.ops.len()
            )));
        }
        for compare in &self.compares {
            let (Compare::ModRevision(key, _) | Compare::Value(key, _)) = compare;
            check_key(key)?;
        }
        let mut changed = BTreeSet::new();
        for op in &self.ops {
            let (Op::Put(key, _) | Op::Delete(key)) = op;
            check_key(key)?;
            if !changed.insert(key.as_str()) {
                return Err(StoreError::Invalid(format!("the transaction changes the key {key:?} twice")));
            }
            if let Op::Put(_, value) = op
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(StoreError::Invalid(format!(
                    "the value of {key:?} has {} bytes; the most is {VALUE_BYTES_MAX}",
                    value.len()
                )));
            }
        }
        let bytes = self.value_bytes();
        if bytes > TXN_BYTES_MAX {
            return Err(StoreError::Invalid(format!(
                "the values of the transaction have {bytes} bytes together; the most is {TXN_BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// The total of all values that this transaction puts, in bytes.
    pub(crate) fn value_bytes(&self) -> usize {
        self.ops.iter().map(|op| if let Op::Put(_, value) = op { value.len() } else { 0 }).sum()
    }
}
