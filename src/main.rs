//! argv in, exit code out.

fn main() -> std::process::ExitCode {
    fairlead::cli::main(std::env::args_os())
}
