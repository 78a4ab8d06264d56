//! The fake CLI as a process: a load target. Ends on TERM as a CLI does, with code 0.

use clap::Parser;
use fairlead::testing::fake_cli::{Bench, FakeCli, FakeConfig};

/// A CLI server that calls no model.
#[derive(Parser)]
struct Args {
    /// 0: any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Events that each session.send streams; without it prompts are echoed in turns.
    #[arg(long)]
    events: Option<u64>,
    /// Bytes of each event's frame body.
    #[arg(long, default_value_t = 360)]
    event_bytes: usize,
    /// Bytes of each answer to session.mode.get where events are set; 0: as few as it takes.
    #[arg(long, default_value_t = 0)]
    answer_bytes: usize,
    /// Events per second of one session; 0: as fast as they are taken.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// What connect has to bring.
    #[arg(long, env = "COPILOT_CONNECTION_TOKEN")]
    token: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let bench = args.events.map(|events| Bench {
        events,
        event_bytes: args.event_bytes,
        answer_bytes: args.answer_bytes,
        rate: args.rate,
    });
    let config = FakeConfig {
        token: args.token.filter(|token| !token.is_empty()),
        port: args.port,
        record: false,
        bench,
        ..FakeConfig::default()
    };
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let fake = FakeCli::start(config).await?;
    announce(fake.addr.port());
    term.recv().await;
    fake.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "callers wait for this line, as they do with a CLI")]
fn announce(port: u16) {
    println!("CLI server listening on port {port}");
}
