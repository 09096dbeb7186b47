//! Lines of a log in bounded memory.
//!
//! Owns how long a line may be. Refuses to wait for the end of a line that never ends: its beginning is told at once, the rest is
//! left out. The cut is made at a space where there is one, so that redaction sees whole words.
use futures::{
    AsyncBufRead, AsyncBufReadExt as _,
    stream::{self, BoxStream, StreamExt as _},
};

/// Longest line that is told, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Said at the end of a line that was cut.
pub const CUT: &str = " … (the rest of this line is left out)";
/// How far back a space is looked for.
const BACK_MAX: usize = 4 * 1024;

/// Where a reader stands.
struct Place<R> {
    reader: R,
    /// The rest of a line that was cut comes first.
    is_skipping: bool,
}

/// The lines of a reader; ends with it, or with its first error.
pub fn lines<R>(reader: R) -> BoxStream<'static, std::io::Result<String>>
where
    R: AsyncBufRead + Send + Unpin + 'static,
{
    let start = Some(Place { reader, is_skipping: false });
    stream::unfold(start, |place| async move {
        let mut place = place?;
        match next(&mut place).await {
            Ok(Some(line)) => Some((Ok(line), Some(place))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

async fn next<R: AsyncBufRead + Unpin>(place: &mut Place<R>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let bytes = place.reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok((!line.is_empty()).then(|| text(&line)));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let used = end.map_or(bytes.len(), |at| at + 1);
        if place.is_skipping {
            place.is_skipping = end.is_none();
            place.reader.consume_unpin(used);
            continue;
        }
        let room = LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() > room {
            place.is_skipping = end.is_none();
            place.reader.consume_unpin(used);
            return Ok(Some(cut(&line)));
        }
        place.reader.consume_unpin(used);
        if end.is_some() {
            return Ok(Some(text(&line)));
        }
    }
}

/// A line that is whole, as it is told.
pub fn bounded(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX { line.to_owned() } else { cut(&line.as_bytes()[..LINE_BYTES_MAX]) }
}

fn cut(line: &[u8]) -> String {
    let from = line.len().saturating_sub(BACK_MAX);
    let end = line[from..].iter().rposition(u8::is_ascii_whitespace).map_or(line.len(), |at| from + at);
    format!("{}{CUT}", text(&line[..end]))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use futures::io::{BufReader, Cursor};

    use super::*;

    async fn read(bytes: Vec<u8>, buffer: usize) -> Vec<String> {
        let reader = BufReader::with_capacity(buffer, Cursor::new(bytes));
        lines(reader).map(|line| line.unwrap_or_else(|e| panic!("{e}"))).collect().await
    }

    #[tokio::test]
    async fn short_lines_are_told_as_they_are() {
        for buffer in [1, 7, 8192] {
            assert_eq!(read(b"a\r\n\nb\xff\nc".to_vec(), buffer).await, ["a", "", "b\u{fffd}", "c"]);
            assert!(read(Vec::new(), buffer).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_long_line_is_cut_at_a_space_and_the_next_one_is_whole() {
        let long = format!("{} password=hunter2{}\nnext\n", "x".repeat(LINE_BYTES_MAX - 10), "y".repeat(100_000));
        let told = read(long.clone().into_bytes(), 4096).await;
        assert_eq!(told.len(), 2);
        assert!(told[0].ends_with(CUT) && !told[0].contains("pass") && told[0].len() < LINE_BYTES_MAX + CUT.len());
        assert_eq!(told[1], "next");
        assert_eq!(bounded(long.lines().next().unwrap_or_default()), told[0]);
    }

    /// Gives bytes for ever and never an end of line.
    struct Endless(Vec<u8>);

    impl futures::AsyncRead for Endless {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            buffer.fill(b'z');
            std::task::Poll::Ready(Ok(buffer.len()))
        }
    }

    impl AsyncBufRead for Endless {
        fn poll_fill_buf(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<&[u8]>> {
            std::task::Poll::Ready(Ok(&self.get_mut().0))
        }

        fn consume(self: std::pin::Pin<&mut Self>, _: usize) {}
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_told_by_its_beginning() {
        let mut told = lines(Endless(vec![b'z'; 4096]));
        let first = told.next().await.and_then(Result::ok).unwrap_or_default();
        assert_eq!(first.len(), LINE_BYTES_MAX + CUT.len());
    }
}
