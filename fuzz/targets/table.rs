//! The table's file: garbage is refused, what is read is written and read the same, and any changed bit is noticed.
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
    assert_eq!(table(&file).as_ref(), Ok(&read), "what is written is read again");
    // What the control plane sends is the same JSON.
    let sent = serde_json::to_vec(&read).expect("it is JSON");
    assert_eq!(table(&sent).as_ref(), Ok(&read));
    let mut damaged = file.clone();
    let bit = usize::from(choice) * 31 % (file.len() * 8);
    damaged[bit / 8] ^= 1 << (bit % 8);
    assert!(table(&damaged).is_err(), "bit {bit} of {:?}", String::from_utf8_lossy(&file));
    let cut = usize::from(choice) % file.len();
    let whole = table(&file[..cut]);
    // Cut right behind the JSON it is the file of a proxy that wrote no checksums.
    assert!(whole.is_err() || whole == Ok(read), "cut at {cut} of {:?}", String::from_utf8_lossy(&file));
});
