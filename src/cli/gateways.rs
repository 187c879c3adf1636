//! `portcullis gateways`.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::list::List;
use super::local_store::LocalStore;
use super::output::{Format, time};
use super::results::{Fetched, ListPart};
use crate::store::{ChangeNumber, GatewayEntry, Gateways};

#[derive(Debug, Args)]
#[command(
    about = "List the gateways that share the record: who is there, how far behind, until when its lease runs",
    long_about = "Lists the gateways that share the record. LAG is how many changes a gateway has not applied yet. A \
        gateway may act on what it has applied until its lease ends; it renews it three times in its length \
        ('store.max_staleness'). One whose lease is past answers no key. With an embedded store the list has the \
        gateways that serve from its file.",
    after_help = "Examples:\n  portcullis gateways\n  portcullis gateways --output json"
)]
pub(super) struct GatewayList {}

pub(super) fn run(config: &Path, output: Format) -> anyhow::Result<()> {
    let Gateways { head, entries, .. } = LocalStore::open(config)?.store.gateways()?;
    let mut list = List::new(output, ["ID", "NAME", "APPLIED", "LAG", "LEASE", "UNTIL", "STARTED"]);
    let row = |Fetched { object: gateway, .. }: &Fetched<GatewayEntry>| {
        [
            gateway.id.clone(),
            gateway.name.clone(),
            gateway.applied.to_string(),
            lag(gateway, head).to_string(),
            if gateway.is_live { "live" } else { "ended" }.to_owned(),
            time(Some(gateway.lease_until)),
            time(Some(gateway.started)),
        ]
    };
    // the list is printed whole; there is no next part to leave out
    let _ = list.part(&ListPart::whole(entries), "gateway", row, |gateway, _| document(gateway, head))?;
    list.end()
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
