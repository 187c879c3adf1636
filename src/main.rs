//! The `portcullis` program: parse the command line, run, print the error.

fn main() -> std::process::ExitCode {
    portcullis::cli::main()
}
