//! The list of gateways, receipts, and which changes are confirmed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::process_identity;
use super::*;

fn gateway(name: &str, applied: u64, lease_until: i64, is_live: bool) -> GatewayEntry {
    GatewayEntry {
        id: format!("id of {name}"),
        name: name.to_owned(),
        started: Timestamp::UNIX_EPOCH,
        applied: ChangeNumber(applied),
        lease_until: Timestamp::from_second(lease_until).unwrap(),
        is_live,
        uses_saved: Timestamp::UNIX_EPOCH,
    }
}

fn three() -> Gateways {
    Gateways {
        at: Timestamp::from_second(100).unwrap(),
        head: ChangeNumber(7),
        unsure_until: None,
        entries: vec![gateway("a", 7, 150, true), gateway("b", 5, 160, true), gateway("c", 2, 90, false)],
    }
}

#[test]
fn a_receipt_counts_the_live_gateways_only() {
    let names =
        |gateways: &[GatewayEntry]| -> Vec<String> { gateways.iter().map(|it| it.name.clone()).collect() };
    let receipt = three().receipt(ChangeNumber(7));
    assert_eq!((names(&receipt.applied), names(&receipt.waiting)), (vec!["a".into()], vec!["b".into()]));
    assert!(!receipt.is_complete());
    assert_eq!(receipt.not_after(), Some(Timestamp::from_second(160).unwrap()));
    let receipt = three().receipt(ChangeNumber(5));
    assert!(receipt.is_complete() && receipt.not_after().is_none(), "{receipt:?}");
    assert_eq!(names(&receipt.applied), ["a", "b"]);
    // the last of those that wait
    let all = Gateways { head: ChangeNumber(8), ..three() }.receipt(ChangeNumber(8));
    assert_eq!((all.waiting.len(), all.not_after()), (2, Some(Timestamp::from_second(160).unwrap())));
    let nobody = Gateways { head: ChangeNumber(9), ..Gateways::default() };
    assert!(nobody.receipt(ChangeNumber(9)).is_complete(), "without a gateway nobody honours a key");
    assert!(
        !Gateways::default().receipt(ChangeNumber(9)).is_complete(),
        "a change that the record does not hold (any more) is not told to be in force"
    );
    // a record that was failed over may not know every gateway that acts
    let later = Timestamp::from_second(170).unwrap();
    let failed_over = Gateways { unsure_until: Some(later), ..three() }.receipt(ChangeNumber(5));
    assert_eq!((failed_over.is_complete(), failed_over.not_after()), (false, Some(later)));
    // but where nobody could be asked that is not known
    let unknown = Receipt::unknown(ChangeNumber(9));
    assert!(!unknown.is_complete() && unknown.not_after().is_none(), "{unknown:?}");
}

#[test]
fn the_change_that_all_live_gateways_have_is_confirmed() {
    assert_eq!(three().confirmed_up_to(), Some(ChangeNumber(5)));
    let alone = Gateways { head: ChangeNumber(9), ..Gateways::default() };
    assert_eq!(alone.confirmed_up_to(), Some(ChangeNumber(9)));
    let unsure = Gateways { unsure_until: Some(Timestamp::MAX), ..three() };
    assert_eq!(unsure.confirmed_up_to(), None);
}

#[test]
fn confirmed_changes_stay_confirmed_and_unknown_revocations_are_pending() {
    let (old, new) = (ChangeNumber(5), ChangeNumber(6));
    let known = ConfirmedUpTo::new(Some(old), ChangeNumber(0));
    let unknown = ConfirmedUpTo::new(None, old);
    // a gateway that is just starting has not said yet what it has applied
    assert_eq!(ConfirmedUpTo::new(Some(ChangeNumber(0)), old), known);
    for confirmed in [known, unknown] {
        assert_eq!(confirmed.number(), old);
        assert!(!confirmed.is_pending(old, State::Inactive) && confirmed.is_pending(new, State::Inactive));
        assert!(confirmed.is_pending(new, State::Removed));
    }
    assert!(known.is_pending(new, State::Active) && !unknown.is_pending(new, State::Active));
    assert!(ConfirmedUpTo::UNKNOWN.is_pending(ChangeNumber(1), State::Inactive));
}

#[test]
fn a_gateway_is_listed_from_its_registration_to_its_end() {
    let mut test = test_store();
    test.account("alice");
    let mut registration = GatewayRegistration::register(&test.path, "gw", Duration::from_mins(1)).unwrap();
    let seen = test.store.gateways().unwrap();
    let [one] = &seen.entries[..] else { panic!("{seen:?}") };
    assert_eq!((one.name.as_str(), one.applied, one.is_live), ("gw", ChangeNumber(0), true));
    let left = one.lease_until.duration_since(seen.at).as_secs();
    assert!((50..=60).contains(&left), "{left}s are left of a minute");
    assert_eq!(seen.head, ChangeNumber(1));

    registration.renew(ChangeNumber(1), Timestamp::UNIX_EPOCH).unwrap();
    assert!(test.store.receipt(ChangeNumber(1)).unwrap().is_complete());
    // a second one, that is at its start again
    let mut second = GatewayRegistration::register(&test.path, "another", Duration::from_mins(1)).unwrap();
    let receipt = test.store.gateways().unwrap().receipt(ChangeNumber(1));
    assert_eq!((receipt.applied.len(), receipt.waiting.len()), (1, 1));
    second.deregister().unwrap();
    registration.deregister().unwrap();
    assert_eq!(test.store.gateways().unwrap().entries, []);
}

#[test]
fn a_gateway_is_not_live_after_its_lease_or_after_a_restart_of_the_machine() {
    let mut test = test_store();
    let _short = GatewayRegistration::register(&test.path, "short", Duration::from_millis(1)).unwrap();
    let is_live = |test: &mut TestStore| test.store.gateways().unwrap().entries[0].is_live;
    let begun = Instant::now();
    while is_live(&mut test) {
        assert!(begun.elapsed() < Duration::from_secs(10), "a lease of a millisecond does not end");
    }
    let mut long = GatewayRegistration::register(&test.path, "long", Duration::from_mins(1)).unwrap();
    let connection = Connection::open(&test.path).unwrap();
    connection.execute("DELETE FROM gateways WHERE name = 'short'", []).unwrap();
    assert!(is_live(&mut test));
    connection.execute("UPDATE gateways SET boot = 'of yesterday'", []).unwrap();
    assert!(!is_live(&mut test));
    // whoever comes next takes such rows away
    long.renew(ChangeNumber(0), Timestamp::UNIX_EPOCH).unwrap();
    let mut other = GatewayRegistration::register(&test.path, "other", Duration::from_mins(1)).unwrap();
    other.renew(ChangeNumber(0), Timestamp::UNIX_EPOCH).unwrap();
    let names: Vec<_> = test.store.gateways().unwrap().entries.into_iter().map(|it| it.name).collect();
    assert!(names.contains(&"other".to_owned()) && !names.contains(&"short".to_owned()), "{names:?}");
}

#[test]
fn a_gateway_that_cannot_know_the_id_of_the_boot_is_live_all_the_same() {
    let mut test = test_store();
    let _registration =
        GatewayRegistration::register(&test.path, "no /proc", Duration::from_mins(1)).unwrap();
    let connection = Connection::open(&test.path).unwrap();
    connection.execute("UPDATE gateways SET boot = '', process = ' 4711 '", []).unwrap();
    let mut other = GatewayRegistration::register(&test.path, "other", Duration::from_mins(1)).unwrap();
    other.renew(ChangeNumber(0), Timestamp::UNIX_EPOCH).unwrap();
    let live = |test: &mut TestStore| {
        let entries = test.store.gateways().unwrap().entries;
        entries.into_iter().filter(|it| it.is_live).map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(live(&mut test), ["no /proc", "other"]);

    // no lease is that long: the clock has begun anew since this row was written
    connection
        .execute("UPDATE gateways SET lease_until = lease_until + 26 * 3600000 WHERE boot = ''", [])
        .unwrap();
    assert_eq!(live(&mut test), ["other"]);
    other.renew(ChangeNumber(0), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(test.store.gateways().unwrap().entries.len(), 1);
}

#[test]
fn a_killed_process_has_ended_and_one_of_another_container_has_not() {
    let ours = process_identity::current();
    assert!(!process_identity::has_ended(&ours), "{ours}");
    let [space, id, start] = ours.split(' ').collect::<Vec<_>>()[..] else { panic!("{ours}") };
    assert!(process_identity::has_ended(&format!("{space} {id} {start}0")), "another process with our id");
    assert!(!process_identity::has_ended(&format!("pid:[1] {id} {start}0")), "of another container");
    for unknown in ["", "x", "x y z", &format!("{space} {id}"), &format!("{space} {id} ")] {
        assert!(!process_identity::has_ended(unknown), "{unknown:?}");
    }
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let line = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start = line.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let process = format!("{space} {} {start}", child.id());
    assert!(!process_identity::has_ended(&process));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(process_identity::has_ended(&process));
}

#[test]
fn time_since_the_start_of_the_machine_only_grows() {
    let now = BootInstant::now();
    assert!(now.0 > 0 && BootInstant::now() >= now);
    let later = now + Duration::from_mins(1);
    assert!((Duration::from_secs(55)..=Duration::from_mins(1)).contains(&later.remaining()));
    assert_eq!(BootInstant::default().remaining(), Duration::ZERO);
    assert_eq!(BootInstant(u64::MAX - 1) + Duration::from_mins(1), BootInstant(u64::MAX));
}

#[test]
fn the_longer_the_wait_the_less_often_the_record_is_asked() {
    let pause = |waited| receipt_poll_interval(Duration::from_millis(waited)).as_millis();
    assert_eq!([0, 4, 30, 99, 500, 5_000].map(pause), [2, 4, 10, 10, 50, 100]);
}
