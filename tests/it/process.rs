//! The program itself: its signals, its exit code, its log; and CLIs that it starts, which end after everybody else.

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::{FakeCli, wire};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::program::Program;
use super::rig::*;

impl Program {
    /// A client that has heard of a CLI.
    async fn client(&mut self) -> Client {
        let client = Client::connect(self.address().await).await.unwrap();
        ask(&client, "connect", json!({})).await;
        client
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Its exit code, with the rest of its log.
    async fn end(&mut self) -> Option<i32> {
        within("it ends", async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.seen.push(line);
            }
            self.child.wait().await.unwrap().code()
        })
        .await
    }
}

fn in_front_of(cli: &FakeCli) -> String {
    format!(
        "[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [[pool]]\nname = \"p\"\nupstreams = [\"{}\"]\nbalance = \"round_robin\"\n",
        cli.addr
    )
}

#[tokio::test]
async fn term_lets_a_turn_end_and_exits_with_0() {
    let cli = FakeCli::plain().await.unwrap();
    let mut program = Program::start(&in_front_of(&cli), &[]).await;
    let client = program.client().await;
    create(&client, "s").await;
    send(&client, "s", "hold k").await;
    within("it holds", cli.until_held("k")).await;
    program.signal(Signal::TERM);
    program.line("it drains", |l| l["kind"] == "drain" && l["turns"] == 1).await;
    cli.release("k");
    let idle = client.next_event(0, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    assert_eq!(program.end().await, Some(0));
    let mut last = program.seen.iter().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let left = last.rfind(|l| l["kind"] == "drain").unwrap();
    assert_eq!(left["turns_cut"], 0, "{left}");
}

#[tokio::test]
async fn a_second_term_and_an_int_cut_and_exit_with_0() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::INT][..]] {
        let cli = FakeCli::plain().await.unwrap();
        let mut program = Program::start(&in_front_of(&cli), &[]).await;
        let client = program.client().await;
        create(&client, "s").await;
        send(&client, "s", "hold k").await;
        within("it holds", cli.until_held("k")).await;
        for signal in signals {
            program.signal(*signal);
            if signals.len() > 1 && program.seen.iter().all(|l| !l.contains("leaving")) {
                program.line("it drains", |l| l["kind"] == "drain").await;
            }
        }
        let idle = client.next_event(0, "session.idle").await.unwrap();
        assert_eq!(idle["data"], json!({"aborted": true}));
        assert_eq!(client.until_closed().await, Some(Closed::Fin));
        assert_eq!(program.end().await, Some(0));
        assert!(program.seen.iter().any(|l| l.contains("\"turns_cut\":1")), "{:#?}", program.seen);
    }
}

#[tokio::test]
async fn managed_clis_end_after_the_turns_that_they_carry() {
    let fake = env!("CARGO_BIN_EXE_fake-cli");
    let toml = format!(
        "[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [[pool]]\nname = \"p\"\nbalance = \"round_robin\"\n\
         [pool.managed]\ncommand = [\"{fake}\", \"--port\", \"{{port}}\"]\ncount = 1\n"
    );
    let mut program = Program::start(&toml, &[]).await;
    let client = program.client().await;
    create(&client, "s").await;
    let mut params = opened("s");
    params["streaming"] = true.into();
    send(&client, "s", "stream 20 50").await;
    client.next_event(0, "assistant.turn_start").await.unwrap();
    program.signal(Signal::TERM);
    let idle = client.next_event(0, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    assert_eq!(program.end().await, Some(0));
    assert!(program.seen.iter().any(|l| l.contains("\"turns_cut\":0")), "{:#?}", program.seen);
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_exits_with_1() {
    let cli = FakeCli::plain().await.unwrap();
    let toml = in_front_of(&cli).replace("127.0.0.1:0", &cli.addr.to_string());
    let toml = toml.replace(&format!("[\"{}\"]", cli.addr), "[\"127.0.0.1:1\"]");
    let mut program = Program::start(&toml, &[]).await;
    assert_eq!(program.end().await, Some(1));
    let said = program.seen.last().unwrap();
    assert!(said.contains("cannot listen at") && said.contains("listener sdk"), "{said}");
}

#[tokio::test]
async fn a_client_that_only_writes_garbage_ends_nothing_but_its_conn() {
    let cli = FakeCli::plain().await.unwrap();
    let mut program = Program::start(&in_front_of(&cli), &[]).await;
    let address = program.address().await;
    let mut garbage = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut garbage, b"\x16\x03\x01\x02\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // FIN or RST: both are ends.
    let _ = within("it is closed", garbage.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    let client = Client::connect(address).await.unwrap();
    client.send_raw(&wire::frame(r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#)).await.unwrap();
    client.next_frame(0, |f| f.value["id"] == 0).await.unwrap();
    program.signal(Signal::INT);
    assert_eq!(program.end().await, Some(0));
}
