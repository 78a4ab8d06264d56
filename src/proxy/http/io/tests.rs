//! What goes out, and when.

use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;
use crate::health::state::State;
use crate::observe::metrics::{Metrics, Vocabulary};
use crate::session::table;
use crate::stream::pairs::{handshake, pair};

/// More than sockets hold.
const MUCH: usize = 16 << 20;

/// Whose answer is being relayed.
fn relaying(io: Io) -> ClientStream {
    static SESSION_STATES: [&str; 1] = [table::State::ALL[0].slug()];
    let (upstream_states, session_states) = (&State::SLUGS, &SESSION_STATES);
    let words = Vocabulary { methods: vec![], upstream_states, session_states };
    let wire = Arc::new(Wire::default());
    wire.cork(true);
    ClientStream::new(io, wire, Metrics::new("0", "0", words).listener("l"))
}

/// Writes much, and then waits for the client as a relay does.
async fn all_goes_out(mut ours: ClientStream, theirs: &mut (impl AsyncRead + Unpin)) {
    let all: Vec<u8> = (0..MUCH).map(|n| (n % 251) as u8).collect();
    let wire = Arc::clone(ours.wire());
    ours.write_all(&all[..5]).await.unwrap();
    ours.write_all(&all[5..]).await.unwrap();
    ours.flush().await.unwrap();
    assert!(!wire.level.has_room());
    let mut got = vec![0; MUCH];
    tokio::select! {
        read = timeout(Duration::from_secs(20), theirs.read_exact(&mut got)) => {
            read.expect("it has not come").unwrap();
        }
        said = ours.read_u8() => panic!("nobody said {said:?}"),
    }
    assert!(got == all && wire.level.has_room() && wire.level.taken() > 0);
}

#[tokio::test]
async fn an_answer_waits_for_nobody_and_goes_out_while_the_client_is_waited_for() {
    let (mut theirs, ours) = pair().await;
    all_goes_out(relaying(Io::Plain(ours)), &mut theirs).await;
}

#[tokio::test]
async fn who_was_told_that_there_is_no_room_is_woken_once_there_is() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (mut theirs, ours) = pair().await;
    let mut ours = relaying(Io::Plain(ours));
    let wire = Arc::clone(ours.wire());
    ours.write_all(&vec![7; MUCH]).await.unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut taken = vec![0; 256 * 1024];
    let woken = async {
        while !wire.level.has_room() {
            theirs.read_exact(&mut taken).await.unwrap();
            let before = count.0.load(Ordering::Relaxed);
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            let read = Pin::new(&mut ours).poll_read(&mut Context::from_waker(&waker), &mut buf);
            assert!(read.is_pending());
            if wire.level.has_room() {
                // By nobody else: nothing else runs meanwhile.
                return count.0.load(Ordering::Relaxed) > before;
            }
            tokio::task::yield_now().await;
        }
        unreachable!("there was none")
    };
    assert!(timeout(Duration::from_secs(20), woken).await.unwrap());
}

#[tokio::test]
async fn nothing_of_it_stays_in_tls() {
    let (theirs, ours) = pair().await;
    let (mut theirs, ours) = handshake(theirs, ours).await;
    all_goes_out(relaying(ours), &mut theirs).await;
}

#[tokio::test]
async fn an_end_of_tls_that_nobody_vouches_for_is_none_in_a_tunnel() {
    for tunnel in [false, true] {
        let (theirs, ours) = pair().await;
        let (theirs, ours) = handshake(theirs, ours).await;
        let mut ours = relaying(ours);
        if tunnel {
            ours.wire().tunnel();
        } else {
            ours.wire().open();
        }
        socket2::SockRef::from(theirs.get_ref().0).shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        let end = timeout(Duration::from_secs(20), ours.read_to_end(&mut said)).await.unwrap();
        assert_eq!(end.is_err(), tunnel, "{end:?}");
    }
}
