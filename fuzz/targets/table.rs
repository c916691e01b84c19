//! The table file: garbage is rejected, a table is read back unchanged, and any flipped bit is detected.
//!
//! The last two bytes choose the bit.

#![no_main]

use gapless_proxy::fuzzing::{Router, table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (text, choice) =
        data.split_last_chunk::<2>().map_or((data, 0), |(text, last)| (text, u16::from_le_bytes(*last)));
    let Ok(read) = table(text) else { return };
    let mut router = Router::default();
    router.change_to(&read);
    let file = router.file();
    assert_eq!(table(&file).as_ref(), Ok(&read), "a written table is read back");
    // The control plane sends the same JSON.
    let sent = serde_json::to_vec(&read).expect("a serializable table");
    assert_eq!(table(&sent).as_ref(), Ok(&read));
    let mut damaged = file.clone();
    let bit = usize::from(choice) * 31 % (file.len() * 8);
    damaged[bit / 8] ^= 1 << (bit % 8);
    assert!(table(&damaged).is_err(), "bit {bit} of {:?}", String::from_utf8_lossy(&file));
    let cut = usize::from(choice) % file.len();
    let whole = table(&file[..cut]);
    // Cut right after the JSON, it is a file of an old proxy without checksums.
    assert!(whole.is_err() || whole == Ok(read), "cut at {cut} of {:?}", String::from_utf8_lossy(&file));
});
