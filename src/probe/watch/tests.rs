//! A member and its watch.

use tokio::net::TcpListener;

use super::*;
use crate::session::table::Storage;
use crate::upstream::pool::bench::Bench;

const LONG: Duration = Duration::from_secs(20);

/// An answer of a CLI.
fn answer(id: u64) -> Vec<u8> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":3}}}}"#);
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn what_a_cli_said_while_we_had_no_time_to_read_is_no_silence() {
    let bench = Bench::new(Storage::Own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (member, _ears) = bench.member("u", Some(address));
    let frame = FrameLimits { header: 1024, body: 1024 };
    let with = Parameters { interval: LONG, timeout: LONG, dead_after: LONG, frame };
    let cli = async {
        let mut socket = listener.accept().await.unwrap().0;
        socket.write_all(&answer(CONNECT)).await.unwrap();
        socket
    };
    let (watch, mut cli) = tokio::join!(meet(address, &bench.pool, &member, &with), cli);
    let (mut watch, mut buffer) = (watch.unwrap(), vec![0; 1024]);

    watch.send_probe().await.unwrap();
    cli.write_all(&answer(watch.probe.unwrap().0)).await.unwrap();
    watch.reader.readable().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(2 * LONG).await;
    watch.judge(&mut buffer).unwrap();
    assert!(watch.probe.is_none(), "it is answered");
    assert_eq!(member.state(), State::Up);

    watch.send_probe().await.unwrap();
    tokio::time::advance(2 * LONG).await;
    let silent = watch.judge(&mut buffer).unwrap_err();
    assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
}
