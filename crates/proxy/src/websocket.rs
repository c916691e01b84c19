//! Follows the frames of a WebSocket as they pass, only so far as to know where one ends: a frame of our own can be put
//! there and nowhere else.

/// The longest frame header: two bytes, eight of length, four of mask.
const HEADER_MAX: usize = 14;

/// Where in a stream of frames we are.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    header: [u8; HEADER_MAX],
    have: usize,
    payload_left: u64,
}

impl FrameTracker {
    /// Whether the last frame is complete and none has begun.
    pub(crate) const fn is_at_boundary(&self) -> bool {
        self.have == 0 && self.payload_left == 0
    }

    /// Bytes pass.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&bytes[at..]);
        }
    }

    /// Bytes up to the end of the present frame pass; returns how many those are. None where no frame has begun.
    pub(crate) fn pass_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_at_boundary() {
            at += self.step(&bytes[at..]);
        }
        at
    }

    /// Takes at least one byte, and none beyond the end of a frame.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let take = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= take as u64;
            return take;
        }
        self.header[self.have] = bytes[0];
        self.have += 1;
        if let Some(payload) = self.payload_length() {
            (self.have, self.payload_left) = (0, payload);
        }
        1
    }

    /// The length of the payload, where the header is complete.
    fn payload_length(&self) -> Option<u64> {
        let header = &self.header[..self.have];
        let second = *header.get(1)?;
        let (length_bytes, mask_bytes) = match second & 0x7f {
            126 => (2, second >> 7),
            127 => (8, second >> 7),
            _ => (0, second >> 7),
        };
        if header.len() < 2 + length_bytes + usize::from(mask_bytes) * 4 {
            return None;
        }
        if length_bytes == 0 {
            return Some(u64::from(second & 0x7f));
        }
        Some(header[2..2 + length_bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }
}

/// A close frame with code 1012, "service restart", as a server sends it.
pub(crate) const CLOSE_TO_CLIENT: &[u8] = &[0x88, 0x02, 0x03, 0xf4];

/// The same as a client sends it: masked, here with zeros.
pub(crate) const CLOSE_TO_SERVER: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..=125 => frame.push(mask | length as u8),
            126..=65_535 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + if masked { 4 } else { 0 } + length, b'x');
        frame
    }

    #[test]
    fn stream_ending_with_frame_is_at_boundary() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let mut tracker = FrameTracker::default();
                let frame = frame(length, masked);
                tracker.pass(&frame[..frame.len() - 1]);
                assert!(!tracker.is_at_boundary(), "{length} {masked}");
                tracker.pass(&frame[frame.len() - 1..]);
                assert!(tracker.is_at_boundary(), "{length} {masked}");
            }
        }
    }

    proptest! {
        #[test]
        fn however_frames_are_cut_into_reads_the_boundary_is_found(
            lengths in proptest::collection::vec(0_usize..300, 1..6),
            masked: bool,
            cut in 0_usize..2000,
        ) {
            let frames: Vec<Vec<u8>> = lengths.iter().map(|length| frame(*length, masked)).collect();
            let stream = frames.concat();
            let cut = cut % stream.len();
            let mut tracker = FrameTracker::default();
            tracker.pass(&stream[..cut]);
            let passed = cut + tracker.pass_to_boundary(&stream[cut..]);
            let mut end = 0;
            let boundary = frames.iter().map(|frame| { end += frame.len(); end }).find(|end| *end >= cut);
            let expected = if cut == 0 { 0 } else { boundary.unwrap_or(0) };
            prop_assert_eq!(passed, expected);
            prop_assert!(tracker.is_at_boundary());
        }
    }
}
