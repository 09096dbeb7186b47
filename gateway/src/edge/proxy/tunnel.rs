//! A connection that changed its protocol: bytes both ways until either end closes, or nothing has moved for too long.
//!
//! Refuses to look into what it carries.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watched::Moved;

/// How long the two ends have to change the protocol.
const CHANGE_TIME: Duration = Duration::from_secs(10);

/// Carries bytes; what is held is let go at the end.
pub(super) async fn tunnel<H: Send>(theirs: OnUpgrade, ours: OnUpgrade, idle: Duration, held: H) {
    let made = tokio::time::timeout(CHANGE_TIME, futures::future::try_join(theirs, ours)).await;
    if let Ok(Ok((theirs, ours))) = made {
        let moved = Moved::now();
        let mut theirs = Stirring { inner: TokioIo::new(theirs), moved: moved.clone() };
        let mut ours = TokioIo::new(ours);
        // Every byte is read from one end and written to the other, so watching one end is enough.
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut theirs, &mut ours) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel ended");
                }
            }
            () = moved.stand(idle) => tracing::debug!("a tunnel stood still for too long"),
        }
    }
    drop(held);
}

/// An end that notes when bytes pass.
struct Stirring<T> {
    inner: T,
    moved: Moved,
}

impl<T: AsyncRead + Unpin> AsyncRead for Stirring<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        if into.filled().len() > before {
            self.moved.mark();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stirring<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(n)) if n > 0) {
            self.moved.mark();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
