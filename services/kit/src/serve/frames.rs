//! The framing of gRPC messages in a body, followed without decoding them.
//!
//! Owns the count of messages and their announced sizes. Refuses contents: bytes are passed on untouched.

/// Bytes before each message: one flag, four of length.
const PREFIX_BYTES: usize = 5;

/// Follows the messages of one body.
#[derive(Debug, Default)]
pub(super) struct Frames {
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    left: usize,
    messages: u64,
    largest: usize,
}

impl Frames {
    /// Takes the next bytes of the body.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.prefix[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == PREFIX_BYTES {
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.largest = self.largest.max(self.left);
                (self.have, self.messages) = (0, self.messages + 1);
            }
        }
    }

    /// Messages begun so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Announced size of the largest message so far, in bytes.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let body = [&[0, 0, 0, 0, 3, 9, 9, 9][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[7; 256]].concat();
        for chunk in [1, 2, 3, 5, 7, 1_000] {
            let mut frames = Frames::default();
            body.chunks(chunk).for_each(|bytes| frames.feed(bytes));
            assert_eq!(
                (frames.messages(), frames.largest(), frames.left, frames.have),
                (3, 256, 0, 0),
                "chunks of {chunk}"
            );
        }
    }
}
