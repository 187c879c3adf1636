//! The commands: parse, call, print.

mod certificate;
mod demo;
mod issue;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
