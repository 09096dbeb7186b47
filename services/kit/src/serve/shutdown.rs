//! The signal that ends a process in order (REL-68).
//!
//! Owns that it is said once. Refuses how long each part may still take: that is the part's rule.
use tokio_util::sync::CancellationToken;

/// Tells every part of the process when to stop; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; again has no effect.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Waits until the signal is given.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the signal was given.
    pub fn is_down(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A signal of its own that this one gives too.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// As [`Shutdown::wait`], owning the signal, for streams that poll it.
    pub(crate) fn wait_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}
