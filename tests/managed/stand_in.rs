//! Stands in for a CLI that is as bad as it is told to be, and for a supervising process to kill.
//!
//! First argument: what to be. The last arguments are those that a supervisor appends. Speaks just
//! enough of the protocol to answer `ping`; is never part of a release.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::zombie_processes,
    reason = "a test's program: it dies and prints for a living"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use fairlead::upstream::source::managed::{Spec, StateDir, Status, managed};

const PONG: &str = r#""result":{"message":"pong"}"#;
const NO_TOKEN: &str = r#""error":{"code":-32001,"message":"AUTHENTICATION_REQUIRED"}"#;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mode = args.first().map_or("", String::as_str);
    match mode {
        "supervise" => supervise(&args[1], args[2..].to_vec()),
        "thief" => thief(args[1].parse().unwrap()),
        "robbed" => robbed(port(&args)),
        "token" => serve(port(&args), NO_TOKEN),
        "mute" => std::thread::park(),
        "crash" => fail("no model, no service"),
        "chatty" => {
            println!("{}", "x".repeat(20_000));
            (0..5000).for_each(|n| println!("line {n}"));
            eprintln!("token is {}", std::env::var("COPILOT_CONNECTION_TOKEN").unwrap());
            serve(port(&args), NO_TOKEN);
        }
        _ => serve(port(&args), PONG),
    }
}

fn port(args: &[String]) -> u16 {
    let tail = &args[args.len() - 4..];
    assert_eq!(tail[..3], ["--headless", "--no-auto-update", "--port"]);
    tail[3].parse().unwrap()
}

fn fail(why: &str) {
    eprintln!("{why}");
    std::process::exit(1);
}

fn announce(port: u16) -> TcpListener {
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
        eprintln!("Failed to start server: Error: Address already in use (os error 98)");
        std::process::exit(1);
    };
    println!("CLI server listening on port {port}");
    listener
}

fn serve(port: u16, outcome: &'static str) {
    for stream in announce(port).incoming() {
        let stream = stream.unwrap();
        std::thread::spawn(move || answer(stream, outcome));
    }
}

/// Answers every frame.
fn answer(stream: TcpStream, outcome: &str) {
    let mut reader = BufReader::new(stream);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,{outcome}}}"#);
    let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            length = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
            line.clear();
        }
        let mut asked = vec![0; length];
        if length == 0 || reader.read_exact(&mut asked).is_err() {
            return;
        }
        reader.get_mut().write_all(frame.as_bytes()).unwrap();
    }
}

/// The first time somebody else takes the port before we do; later all is well.
fn robbed(port: u16) {
    let home = std::env::var("COPILOT_HOME").unwrap();
    let robbed = Path::new(&home).join("robbed");
    if robbed.exists() {
        return serve(port, PONG);
    }
    let me = std::env::current_exe().unwrap();
    let mut thief = Command::new(me);
    thief
        .args(["thief", &port.to_string()])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut thief = thief.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(thief.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "mine\n");
    std::fs::write(robbed, port.to_string()).unwrap();
    drop(announce(port));
}

/// Sits on a port, answers pings, and leaves when it is connected to and told nothing.
fn thief(port: u16) {
    rustix::process::setsid().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    println!("mine");
    // Where the test fails, nobody sends us away.
    std::thread::spawn(|| {
        std::thread::park_timeout(std::time::Duration::from_secs(60));
        std::process::exit(1);
    });
    let (stream, _) = listener.accept().unwrap();
    answer(stream, PONG);
}

/// A fairlead in small: one CLI, supervised until somebody kills us.
fn supervise(dir: &str, command: Vec<String>) {
    let dir = Path::new(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = StateDir::open(dir).unwrap();
        let (cli, supervisor) = managed(Spec::new("p", 0, command, dir.join("home")), &state);
        let mut status = cli.status();
        let tell = async {
            let ready =
                status.wait_for(|s| matches!(s, Status::Ready { .. })).await.unwrap().clone();
            if let Status::Ready { pid, .. } = ready {
                println!("ready {pid}");
            }
        };
        tokio::join!(supervisor, tell);
    });
}
