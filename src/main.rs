//! argv in, exit code out.

/// Gives memory back after a peak, and is quicker than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    fairlead::cli::main(std::env::args_os())
}
