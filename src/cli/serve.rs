//! `portcullis serve`: the gateway itself.

use std::path::Path;

use crate::server::{self, ServeError};

#[derive(Debug, clap::Args)]
#[command(
    about = "Run the gateway until SIGTERM or Ctrl-C",
    long_about = "Runs the gateway until SIGTERM or Ctrl-C. Running requests may then finish within 'drain_timeout'; a \
        second signal ends it at once. SIGHUP reads the configuration again (`portcullis reload`): a right one is taken over \
        whole, one with mistakes is reported and changes nothing. SIGUSR2 starts the program anew, which takes over \
        without a gap (`portcullis upgrade`). What the commands write to the store is seen while it runs.\n\n\
        With a record in PostgreSQL ('store.postgres') it first brings its replica up to date, and makes it where there \
        is none, which takes up to a minute for a million keys; several gateways may start at once. Where the record is \
        away it starts from the replica it has, within the lease that is left.",
    after_help = "Examples:\n  portcullis serve\n  portcullis serve --config /etc/portcullis/portcullis.yaml\n"
)]
pub(super) struct Serve {}

pub(super) fn run(config: &Path) -> Result<(), ServeError> {
    server::serve(config)
}
