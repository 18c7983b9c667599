//! Work off the threads that answer.

/// Does work that takes milliseconds or more on a thread of its own. It is done to its end even if nobody waits any more.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Ours is never cancelled: it panicked, which is ours to pass on.
        Err(problem) => std::panic::resume_unwind(problem.into_panic()),
    }
}
