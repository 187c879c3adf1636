//! `portcullis gateways`.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::list::List;
use super::local_store::LocalStore;
use super::output::{Format, time};
use super::results::{Fetched, ListPart};
use crate::store::{ChangeNumber, GatewayEntry, Gateways};

#[derive(Debug, Args)]
#[command(
    about = "List the gateways that use these keys: how far behind each is, and when its lease ends",
    long_about = "Lists the gateways that use the same keys: those of one PostgreSQL database, or of one SQLite file. \
        LAG is how many changes a gateway has not applied yet. A gateway decides by what it has applied until its \
        lease ends ('store.max_staleness'). It renews the lease before that, after a third of this time. A gateway \
        whose lease has ended accepts no key. A gateway that is marked as crashed ended without stopping in order. \
        It answers nothing, even if its lease has not ended yet.",
    after_help = "Examples:\n  portcullis gateways\n  portcullis gateways --output json"
)]
pub(super) struct GatewayList {}

pub(super) fn run(config: &Path, output: Format) -> anyhow::Result<()> {
    let Gateways { at, head, entries, .. } = LocalStore::open(config)?.store.gateways()?;
    let mut list = List::new(output, ["ID", "NAME", "APPLIED", "LAG", "LEASE", "UNTIL", "STARTED"]);
    let row = |Fetched { object: gateway, .. }: &Fetched<GatewayEntry>| {
        [
            gateway.id.clone(),
            gateway.name.clone(),
            gateway.applied.to_string(),
            lag(gateway, head).to_string(),
            lease(gateway, at).to_owned(),
            time((lease(gateway, at) != CRASHED).then_some(gateway.lease_until)),
            time(Some(gateway.started)),
        ]
    };
    // the list is printed whole; there is no next part to leave out
    let _ = list.part(&ListPart::whole(entries), "gateway", row, |gateway, _| document(gateway, head))?;
    list.end()
}

/// The process is gone, though its lease has not ended.
const CRASHED: &str = "crashed";

fn lease(gateway: &GatewayEntry, now: Timestamp) -> &'static str {
    match gateway.is_live {
        true => "live",
        false if gateway.lease_until > now => CRASHED,
        false => "ended",
    }
}

fn lag(gateway: &GatewayEntry, head: ChangeNumber) -> u64 {
    head.0.saturating_sub(gateway.applied.0)
}

fn document(gateway: &GatewayEntry, head: ChangeNumber) -> Value {
    json!({
        "type": "gateway",
        "id": gateway.id,
        "name": gateway.name,
        "state": if gateway.is_live { "active" } else { "inactive" },
        "applied": gateway.applied.0,
        "lag": lag(gateway, head),
        "leaseUntil": gateway.lease_until.to_string(),
        "started": gateway.started.to_string(),
    })
}
