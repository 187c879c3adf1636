//! `portcullis completions`, and the manual pages: what packages install beside the program.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;
use super::output::print;

#[derive(Debug, clap::Args)]
#[command(
    about = "Print a script that lets a shell complete commands",
    after_help = "Examples:\n  portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis\n  \
        portcullis completions zsh > ~/.zfunc/_portcullis\n  \
        portcullis completions fish > ~/.config/fish/completions/portcullis.fish"
)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "portcullis", &mut script);
        print(&String::from_utf8(script)?)
    }
}

#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    about = "Write the manual pages, one for each command",
    after_help = "Examples:\n  portcullis man-page /usr/share/man/man1"
)]
pub(super) struct ManPage {
    /// The folder
    folder: PathBuf,
}

impl ManPage {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        Ok(clap_mangen::generate_to(Arguments::command(), &self.folder)?)
    }
}
