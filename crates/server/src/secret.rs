//! Random secrets: tokens, and unique names.

/// A text of 128 random bits.
pub(crate) fn secret() -> String {
    let mut bytes = [0_u8; 16];
    // Blocks only in the first moments after the host boots, and never fails after that.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
