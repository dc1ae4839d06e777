//! Work done ahead on a thread of its own, with a bounded queue.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::DataError;

/// What `produce` returns, in order, made while earlier results are used. The end, an error or a panic of `produce` ends it;
/// dropping it stops the thread after at most the item that it is working on.
#[derive(Debug)]
pub(super) struct Prefetch<T> {
    receiver: Option<Receiver<Result<T, DataError>>>, // None: ended
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread. Up to `ahead` items wait in the queue while one more is made.
    pub(super) fn spawn(
        ahead: usize,
        produce: impl FnMut() -> Option<Result<T, DataError>> + Send + 'static,
    ) -> Result<Self, DataError> {
        let (sender, receiver) = sync_channel(ahead);
        let thread = Builder::new()
            .name("mcl-data batches".into())
            .spawn(move || work(&sender, produce))
            .map_err(|error| DataError::Worker { reason: error.to_string() })?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

fn work<T>(
    sender: &SyncSender<Result<T, DataError>>,
    mut produce: impl FnMut() -> Option<Result<T, DataError>>,
) {
    loop {
        // The state that a panic leaves behind is never looked at again: this is the last round.
        let item = match catch_unwind(AssertUnwindSafe(&mut produce)) {
            Ok(Some(item)) => item,
            Ok(None) => return,
            Err(panic) => Err(DataError::Worker { reason: message(panic.as_ref()) }),
        };
        let last = item.is_err();
        if sender.send(item).is_err() || last {
            return; // nobody listens any more, or nothing more to say
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("no message"))
}

impl<T> Prefetch<T> {
    fn stop(&mut self) {
        self.receiver = None; // first, so that a thread waiting to send wakes up
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && rayon::yield_now().is_some() {
                std::thread::sleep(PATIENCE);
            }
            let _ = thread.join(); // it cannot panic: `produce` is caught
        }
    }
}

/// How long a thread of a rayon pool waits before it looks whether it is itself what is waited for.
const PATIENCE: Duration = Duration::from_millis(1);

/// Waits for an item. On a thread of a rayon pool that may be the only one, blocking would be waiting for oneself: such a
/// thread does the pool's work in between.
fn receive<T>(receiver: &Receiver<T>) -> Option<T> {
    while rayon::current_thread_index().is_some() {
        match receiver.recv_timeout(PATIENCE) {
            Ok(item) => return Some(item),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => rayon::yield_now(),
        };
    }
    receiver.recv().ok()
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = receive(self.receiver.as_ref()?);
        if !matches!(item, Some(Ok(_))) {
            self.stop();
        }
        item
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counter(upto: usize) -> (Arc<AtomicUsize>, impl FnMut() -> Option<Result<usize, DataError>> + Send) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let produce = move || {
            let n = count.fetch_add(1, Ordering::SeqCst);
            (n < upto).then_some(Ok(n))
        };
        (made, produce)
    }

    #[test]
    fn items_arrive_in_order_and_end() {
        for ahead in [0, 1, 3] {
            let mut items = Prefetch::spawn(ahead, counter(20).1).unwrap();
            let got: Vec<usize> = items.by_ref().map(Result::unwrap).collect();
            assert_eq!(got, (0..20).collect::<Vec<_>>());
            assert!(items.next().is_none());
        }
    }

    #[test]
    fn no_more_is_made_than_fits_the_queue() {
        let (made, produce) = counter(usize::MAX);
        let mut items = Prefetch::spawn(2, produce).unwrap();
        items.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        // One taken, two in the queue, one in the hand of the thread.
        assert!(made.load(Ordering::SeqCst) <= 4);
        drop(items);
        let at_end = made.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(made.load(Ordering::SeqCst), at_end, "the thread went on after the drop");
    }

    #[test]
    fn a_panic_becomes_an_error_and_the_end() {
        let mut n = 0;
        let produce = move || {
            n += 1;
            assert!(n < 3, "image {n} is cursed");
            Some(Ok(n))
        };
        let mut items = Prefetch::spawn(4, produce).unwrap();
        assert_eq!((items.next().unwrap().unwrap(), items.next().unwrap().unwrap()), (1, 2));
        match items.next() {
            Some(Err(DataError::Worker { reason })) => {
                assert!(reason.contains("image 3 is cursed"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(items.next().is_none());
    }

    #[test]
    fn a_pool_of_one_thread_can_wait_for_its_own_work() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let inner = pool.clone();
        let total: usize = pool.install(|| {
            let produce = move || Some(Ok(inner.install(|| 1)));
            let mut items = Prefetch::spawn(1, produce).unwrap();
            items.by_ref().take(5).map(Result::unwrap).sum() // and the rest is dropped
        });
        assert_eq!(total, 5);
    }
}
