//! Random secrets: tokens, and names that must be unique.

/// A text of 128 random bits.
pub(crate) fn secret() -> String {
    let mut bytes = [0_u8; 16];
    // It blocks only in the first moments after the host's start, and never fails after them.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
