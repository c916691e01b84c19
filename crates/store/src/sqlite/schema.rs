//! The tables, as numbered steps from one schema to the next, and the mark of gapless's files.

use super::checksum;
use super::error::FileError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// The `application_id` of gapless's state files: "gapl".
pub(super) const APPLICATION_ID: i64 = 0x6761_706c;

/// A step from one schema to the next.
type Step = fn(&Transaction<'_>) -> Result<(), FileError>;

/// The steps: step n makes schema n. A released step never changes.
const STEPS: [Step; 2] = [records, checksums];

/// The schema that this gapless reads and writes.
pub(super) const SCHEMA: i64 = STEPS.len() as i64;

/// The schema of the file; 0 if it has none yet.
pub(super) fn version(connection: &Connection) -> Result<i64, FileError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Migrates the file to the current schema: all missing steps in one transaction, so all apply or none.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), FileError> {
    migrate_to(connection, STEPS.len())
}

fn migrate_to(connection: &mut Connection, last: usize) -> Result<(), FileError> {
    let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let have = usize::try_from(version(&txn)?).unwrap_or(0);
    for step in STEPS.iter().take(last).skip(have) {
        step(&txn)?;
    }
    txn.pragma_update(None, "application_id", APPLICATION_ID)?;
    txn.pragma_update(None, "user_version", last.max(have) as i64)?;
    txn.commit()?;
    Ok(())
}

/// Schema 1: the entries, their history, and the store's counters. Without row ids, so that each key is stored once:
/// the index of a table with row ids would have a second copy, which no check of the rows sees.
fn records(txn: &Transaction<'_>) -> Result<(), FileError> {
    txn.execute_batch(
        "CREATE TABLE entries (
             key TEXT PRIMARY KEY,
             value BLOB NOT NULL,
             create_revision INTEGER NOT NULL,
             mod_revision INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE history (
             revision INTEGER NOT NULL,
             position INTEGER NOT NULL,
             key TEXT NOT NULL,
             value BLOB, -- NULL: the key was deleted
             create_revision INTEGER NOT NULL,
             PRIMARY KEY (revision, position)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE numbers (
             name TEXT PRIMARY KEY,
             number INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         INSERT INTO numbers (name, number) VALUES ('revision', 0), ('compacted', 0);",
    )?;
    Ok(())
}

/// Schema 2: a checksum for every record.
fn checksums(txn: &Transaction<'_>) -> Result<(), FileError> {
    for table in ["entries", "history", "numbers"] {
        txn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0"))?;
    }
    let mut read = txn.prepare("SELECT key, value, create_revision, mod_revision FROM entries")?;
    let mut write = txn.prepare("UPDATE entries SET checksum = ? WHERE key = ?")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        let sum = checksum::of_entry(&key, row.get_ref(1)?.as_blob().unwrap_or_default(), row.get(2)?, row.get(3)?);
        write.execute((sum, &key))?;
    }
    let mut read = txn.prepare("SELECT revision, position, key, value, create_revision FROM history")?;
    let mut write = txn.prepare("UPDATE history SET checksum = ? WHERE revision = ? AND position = ?")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let (revision, position) = (row.get(0)?, row.get(1)?);
        let key: String = row.get(2)?;
        let value: Option<Vec<u8>> = row.get(3)?;
        let sum = checksum::of_change(revision, position, &key, value.as_deref(), row.get(4)?);
        write.execute((sum, revision, position))?;
    }
    let mut read = txn.prepare("SELECT name, number FROM numbers")?;
    let mut write = txn.prepare("UPDATE numbers SET checksum = ? WHERE name = ?")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        write.execute((checksum::of_number(&name, row.get(1)?), &name))?;
    }
    Ok(())
}
