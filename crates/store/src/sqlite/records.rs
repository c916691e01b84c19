//! Reads and writes the records on the one connection: every request of the store in SQL.

use super::error::FileError;
use super::{checksum, schema};
use crate::limits;
use crate::watch::Page;
use crate::{Compare, Entry, Op, Outcome, Range, StoreError, Txn, WatchBatch, WatchEvent};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

/// Bytes of values in one read of the history; a page ends early above that.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The open file, and its counters in memory.
pub(super) struct Records {
    pub(super) connection: Connection,
    /// The revision of the last change.
    pub(super) revision: u64,
    /// The newest revision that the history no longer has.
    pub(super) compacted: u64,
    /// The total of the values in the history, in bytes.
    pub(super) history_bytes: u64,
}

impl Records {
    /// Reads all records, and rejects the file if a checksum does not match.
    pub(super) fn load(connection: Connection) -> Result<Records, FileError> {
        let mut records = Records { connection, revision: 0, compacted: 0, history_bytes: 0 };
        records.revision = records.number("revision")?;
        records.compacted = records.number("compacted")?;
        let newest = records.verify_entries()?;
        records.verify_history()?;
        if newest > records.revision {
            return Err(FileError::Damaged(format!("records are newer than the last revision, {}", records.revision)));
        }
        Ok(records)
    }

    fn number(&self, name: &str) -> Result<u64, FileError> {
        let found: Option<(i64, i64)> = self
            .connection
            .query_row("SELECT number, checksum FROM numbers WHERE name = ?", [name], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match found {
            Some((number, sum)) if sum == checksum::of_number(name, number) => Ok(number.cast_unsigned()),
            _ => Err(FileError::Damaged(format!("the number {name:?} is missing or not as it was written"))),
        }
    }

    /// Checks the entries and returns the revision of the newest.
    fn verify_entries(&self) -> Result<u64, FileError> {
        let mut newest = 0;
        let mut read =
            self.connection.prepare("SELECT key, value, create_revision, mod_revision, checksum FROM entries")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            newest = newest.max(entry(row)?.mod_revision);
        }
        Ok(newest)
    }

    /// Checks that the history goes from the compacted revision to the current revision without a gap.
    fn verify_history(&mut self) -> Result<(), FileError> {
        let (mut newest, mut bytes) = (self.compacted, 0);
        let mut read = self.connection.prepare(
            "SELECT revision, position, key, value, create_revision, checksum FROM history ORDER BY revision, position",
        )?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let (revision, event) = change(row)?;
            if revision <= self.compacted || revision > newest + 1 {
                return Err(FileError::Damaged(format!("the history has revision {revision} after {newest}")));
            }
            newest = newest.max(revision);
            bytes += event_bytes(&event) as u64;
        }
        if newest != self.revision {
            return Err(FileError::Damaged(format!("the history ends at revision {newest}, not {}", self.revision)));
        }
        drop(rows);
        drop(read);
        self.history_bytes = bytes;
        Ok(())
    }

    pub(super) fn range(&self, prefix: &str) -> Result<Range, FileError> {
        // Reads from the prefix on, ordered by bytes, until a key no longer begins with it: there is no pattern to
        // escape and no upper bound to compute.
        let mut read = self.connection.prepare_cached(
            "SELECT key, value, create_revision, mod_revision, checksum FROM entries WHERE key >= ? ORDER BY key",
        )?;
        let mut rows = read.query([prefix])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            if !row.get_ref(0)?.as_bytes().is_ok_and(|key| key.starts_with(prefix.as_bytes())) {
                break;
            }
            entries.push(entry(row)?);
        }
        Ok(Range { revision: self.revision, entries })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, FileError> {
        find(&self.connection, key)
    }

    /// Commits in one transaction, written and synced once; durable when it returns.
    pub(super) fn commit(&mut self, txn: &Txn) -> Result<Outcome, FileError> {
        let revision = self.revision + 1;
        let sql = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for compare in &txn.compares {
            if !is_satisfied(&sql, compare)? {
                return Ok(Outcome::Conflict);
            }
        }
        let (mut changes, mut bytes) = (0, 0);
        for op in &txn.ops {
            if let Some(event) = apply(&sql, op, revision)? {
                record(&sql, revision, changes, &event)?;
                changes += 1;
                bytes += event_bytes(&event) as u64;
            }
        }
        if changes == 0 {
            return Ok(Outcome::Committed { revision: self.revision });
        }
        set_number(&sql, "revision", revision)?;
        if let Err(error) = sql.commit() {
            self.overwrite_failed_change();
            return Err(error.into());
        }
        // Last: a transaction that failed must not change the counters either.
        self.revision = revision;
        self.history_bytes += bytes;
        Ok(Outcome::Committed { revision })
    }

    /// Overwrites a change that could not be synced with an empty one. In the page cache the failed change is complete
    /// in the log: the next process to open the file would apply it, although its author got an error.
    fn overwrite_failed_change(&self) {
        // The sync of the empty change fails as well, but it is in the log nevertheless.
        let _ = self.connection.pragma_update(None, "user_version", schema::SCHEMA);
    }

    pub(super) fn page(&self, prefix: &str, from: u64) -> Result<Page, FileError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted { from, oldest: self.compacted + 1 }.into());
        }
        let mut read = self.connection.prepare_cached(
            "SELECT revision, position, key, value, create_revision, checksum FROM history
             WHERE revision >= ? AND revision < ? ORDER BY revision, position",
        )?;
        let end = (self.revision + 1).min(from.saturating_add(limits::PAGE_REVISIONS_MAX as u64));
        let mut rows = read.query((from.cast_signed(), end.cast_signed()))?;
        let mut batches: Vec<WatchBatch> = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let (revision, event) = change(row)?;
            if bytes > PAGE_BYTES_MAX && batches.last().is_some_and(|last| last.revision != revision) {
                return Ok(Page { batches, next: revision });
            }
            if !event.key().starts_with(prefix) {
                continue;
            }
            bytes += event_bytes(&event);
            match batches.last_mut() {
                Some(last) if last.revision == revision => last.events.push(event),
                _ => batches.push(WatchBatch { revision, events: vec![event] }),
            }
        }
        Ok(Page { batches, next: end.max(from) })
    }

    /// Discards the changes up to and including revision `through`; the entries themselves stay.
    pub(super) fn compact(&mut self, through: u64) -> Result<(), FileError> {
        let through = through.min(self.revision);
        if through <= self.compacted {
            return Ok(());
        }
        let sql = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let freed: i64 = sql.query_row(
            "SELECT coalesce(sum(length(value)), 0) FROM history WHERE revision <= ?",
            [through.cast_signed()],
            |row| row.get(0),
        )?;
        sql.execute("DELETE FROM history WHERE revision <= ?", [through.cast_signed()])?;
        set_number(&sql, "compacted", through)?;
        sql.commit()?;
        self.compacted = through;
        self.history_bytes = self.history_bytes.saturating_sub(freed.cast_unsigned());
        Ok(())
    }

    /// The revision to compact through so that the history is within its bounds; `None` if it already is.
    pub(super) fn surplus(&self) -> Option<u64> {
        limits::surplus(self.revision, self.compacted, self.history_bytes)
    }
}

fn is_satisfied(sql: &Connection, compare: &Compare) -> Result<bool, FileError> {
    Ok(match compare {
        Compare::ModRevision(key, revision) => find(sql, key)?.map_or(0, |entry| entry.mod_revision) == *revision,
        Compare::Value(key, value) => find(sql, key)?.is_some_and(|entry| entry.value == *value),
    })
}

fn apply(sql: &Transaction<'_>, op: &Op, revision: u64) -> Result<Option<WatchEvent>, FileError> {
    match op {
        Op::Put(key, value) => {
            let create_revision: Option<i64> = sql
                .prepare_cached("SELECT create_revision FROM entries WHERE key = ?")?
                .query_row([key], |row| row.get(0))
                .optional()?;
            let create_revision = create_revision.unwrap_or(revision.cast_signed());
            let sum = checksum::of_entry(key, value, create_revision, revision.cast_signed());
            sql.prepare_cached(
                "INSERT INTO entries (key, value, create_revision, mod_revision, checksum) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (key) DO UPDATE SET value = ?2, mod_revision = ?4, checksum = ?5",
            )?
            .execute((key, value, create_revision, revision.cast_signed(), sum))?;
            Ok(Some(WatchEvent::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                create_revision: create_revision.cast_unsigned(),
                mod_revision: revision,
            })))
        }
        Op::Delete(key) => {
            let gone = sql.prepare_cached("DELETE FROM entries WHERE key = ?")?.execute([key])?;
            Ok((gone > 0).then(|| WatchEvent::Delete { key: key.clone() }))
        }
    }
}

fn record(sql: &Transaction<'_>, revision: u64, position: i64, event: &WatchEvent) -> Result<(), FileError> {
    let (key, value, create_revision) = match event {
        WatchEvent::Put(entry) => (&entry.key, Some(entry.value.as_slice()), entry.create_revision.cast_signed()),
        WatchEvent::Delete { key } => (key, None, 0),
    };
    let revision = revision.cast_signed();
    let sum = checksum::of_change(revision, position, key, value, create_revision);
    sql.prepare_cached(
        "INSERT INTO history (revision, position, key, value, create_revision, checksum) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((revision, position, key, value, create_revision, sum))?;
    Ok(())
}

fn set_number(sql: &Transaction<'_>, name: &str, number: u64) -> Result<(), FileError> {
    let number = number.cast_signed();
    sql.prepare_cached("UPDATE numbers SET number = ?, checksum = ? WHERE name = ?")?.execute((
        number,
        checksum::of_number(name, number),
        name,
    ))?;
    Ok(())
}

fn find(sql: &Connection, key: &str) -> Result<Option<Entry>, FileError> {
    let mut read =
        sql.prepare_cached("SELECT key, value, create_revision, mod_revision, checksum FROM entries WHERE key = ?")?;
    let mut rows = read.query([key])?;
    rows.next()?.map(entry).transpose()
}

/// The entry in a row of `key, value, create_revision, mod_revision, checksum`.
fn entry(row: &Row<'_>) -> Result<Entry, FileError> {
    let (key, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let (create_revision, mod_revision, sum): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
    if sum != checksum::of_entry(&key, &value, create_revision, mod_revision) {
        return Err(FileError::Damaged(format!("the entry {key:?} is not as it was written")));
    }
    Ok(Entry {
        key,
        value,
        create_revision: create_revision.cast_unsigned(),
        mod_revision: mod_revision.cast_unsigned(),
    })
}

/// The change in a row of `revision, position, key, value, create_revision, checksum`.
fn change(row: &Row<'_>) -> Result<(u64, WatchEvent), FileError> {
    let (revision, position): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (key, value): (String, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
    let (create_revision, sum): (i64, i64) = (row.get(4)?, row.get(5)?);
    if sum != checksum::of_change(revision, position, &key, value.as_deref(), create_revision) {
        return Err(FileError::Damaged(format!("revision {revision} of the history is not as it was written")));
    }
    let revision = revision.cast_unsigned();
    let event = match value {
        None => WatchEvent::Delete { key },
        Some(value) => WatchEvent::Put(Entry {
            key,
            value,
            create_revision: create_revision.cast_unsigned(),
            mod_revision: revision,
        }),
    };
    Ok((revision, event))
}

fn event_bytes(event: &WatchEvent) -> usize {
    match event {
        WatchEvent::Put(entry) => entry.value.len(),
        WatchEvent::Delete { .. } => 0,
    }
}
