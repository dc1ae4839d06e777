//! The program `mcl`: see the library of this crate.

fn main() -> std::process::ExitCode {
    mcl_cli::main()
}
