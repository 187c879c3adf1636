//! What lists of one gateway cost the others.

use crate::cluster::Cluster;
use crate::support::lists::nothing_waits_for_lists;

#[test]
fn case_102_a_list_holds_up_no_change_and_no_receipt_of_several_gateways() {
    let cluster = Cluster::start(2);
    nothing_waits_for_lists(cluster.one());
}
