//! Who is there, what each has applied, and what that says of a change.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::boot;
use super::*;

fn gateway(name: &str, applied: u64, lease_until: i64, is_live: bool) -> GatewayEntry {
    GatewayEntry {
        id: format!("id of {name}"),
        name: name.to_owned(),
        started: Timestamp::UNIX_EPOCH,
        applied: ChangeNumber(applied),
        lease_until: Timestamp::from_second(lease_until).unwrap(),
        is_live,
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
fn what_all_live_gateways_have_is_confirmed() {
    assert_eq!(three().confirmed_up_to(), Some(ChangeNumber(5)));
    let alone = Gateways { head: ChangeNumber(9), ..Gateways::default() };
    assert_eq!(alone.confirmed_up_to(), Some(ChangeNumber(9)));
    let doubted = Gateways { unsure_until: Some(Timestamp::MAX), ..three() };
    assert_eq!(doubted.confirmed_up_to(), None);
}

#[test]
fn what_was_settled_stays_so_and_of_the_rest_the_worst_is_assumed() {
    let (old, new) = (ChangeNumber(5), ChangeNumber(6));
    let known = ConfirmedUpTo::new(Some(old), ChangeNumber(0));
    let doubted = ConfirmedUpTo::new(None, old);
    // a gateway that is just starting has not said yet what it has applied
    assert_eq!(ConfirmedUpTo::new(Some(ChangeNumber(0)), old), known);
    for confirmed_up_to in [known, doubted] {
        assert_eq!(confirmed_up_to.number(), old);
        assert!(
            !confirmed_up_to.is_pending(old, State::Inactive)
                && confirmed_up_to.is_pending(new, State::Inactive)
        );
        assert!(confirmed_up_to.is_pending(new, State::Removed));
    }
    assert!(known.is_pending(new, State::Active) && !doubted.is_pending(new, State::Active));
    assert!(ConfirmedUpTo::UNKNOWN.is_pending(ChangeNumber(1), State::Inactive));
}

#[test]
fn a_gateway_of_an_embedded_store_is_there_from_its_first_word_to_its_last() {
    let mut place = place();
    place.account("alice");
    let mut presence = Presence::begin(&place.path, "gw", Duration::from_mins(1)).unwrap();
    let seen = place.store.gateways().unwrap();
    let [one] = &seen.entries[..] else { panic!("{seen:?}") };
    assert_eq!((one.name.as_str(), one.applied, one.is_live), ("gw", ChangeNumber(0), true));
    let left = one.lease_until.duration_since(seen.at).as_secs();
    assert!((50..=60).contains(&left), "{left}s are left of a minute");
    assert_eq!(seen.head, ChangeNumber(1));

    presence.renew(ChangeNumber(1)).unwrap();
    assert!(place.store.receipt(ChangeNumber(1)).unwrap().is_complete());
    // a second one, that is at its start again
    let mut second = Presence::begin(&place.path, "another", Duration::from_mins(1)).unwrap();
    let receipt = place.store.gateways().unwrap().receipt(ChangeNumber(1));
    assert_eq!((receipt.applied.len(), receipt.waiting.len()), (1, 1));
    second.end().unwrap();
    presence.end().unwrap();
    assert_eq!(place.store.gateways().unwrap().entries, []);
}

#[test]
fn a_gateway_whose_lease_is_over_and_one_of_an_earlier_boot_are_not_live() {
    let mut place = place();
    let _short = Presence::begin(&place.path, "short", Duration::from_millis(1)).unwrap();
    let is_live = |place: &mut Place| place.store.gateways().unwrap().entries[0].is_live;
    let begun = Instant::now();
    while is_live(&mut place) {
        assert!(begun.elapsed() < Duration::from_secs(10), "a lease of a millisecond does not end");
    }
    let mut long = Presence::begin(&place.path, "long", Duration::from_mins(1)).unwrap();
    let connection = Connection::open(&place.path).unwrap();
    connection.execute("DELETE FROM gateways WHERE name = 'short'", []).unwrap();
    assert!(is_live(&mut place));
    connection.execute("UPDATE gateways SET boot = 'of yesterday'", []).unwrap();
    assert!(!is_live(&mut place));
    // whoever comes next takes such rows away
    long.renew(ChangeNumber(0)).unwrap();
    let mut other = Presence::begin(&place.path, "other", Duration::from_mins(1)).unwrap();
    other.renew(ChangeNumber(0)).unwrap();
    let names: Vec<_> = place.store.gateways().unwrap().entries.into_iter().map(|it| it.name).collect();
    assert!(names.contains(&"other".to_owned()) && !names.contains(&"short".to_owned()), "{names:?}");
}

#[test]
fn a_process_that_was_killed_has_ended_and_one_that_cannot_be_seen_has_not() {
    let ours = boot::process();
    assert!(!boot::has_ended(&ours), "{ours}");
    let [space, id, start] = ours.split(' ').collect::<Vec<_>>()[..] else { panic!("{ours}") };
    assert!(boot::has_ended(&format!("{space} {id} {start}0")), "another process with our id");
    assert!(!boot::has_ended(&format!("pid:[1] {id} {start}0")), "of another container");
    for unknown in ["", "x", "x y z", &format!("{space} {id}"), &format!("{space} {id} ")] {
        assert!(!boot::has_ended(unknown), "{unknown:?}");
    }
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let line = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start = line.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let process = format!("{space} {} {start}", child.id());
    assert!(!boot::has_ended(&process));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(boot::has_ended(&process));
}

#[test]
fn time_since_the_start_of_the_machine_only_grows() {
    let now = BootTime::now();
    assert!(now.0 > 0 && BootTime::now() >= now);
    let later = now + Duration::from_mins(1);
    assert!((Duration::from_secs(55)..=Duration::from_mins(1)).contains(&later.remaining()));
    assert_eq!(BootTime::default().remaining(), Duration::ZERO);
    assert_eq!(BootTime(u64::MAX - 1) + Duration::from_mins(1), BootTime(u64::MAX));
}

#[test]
fn who_is_slow_is_asked_after_less_often() {
    let pause = |waited| receipt_pause(Duration::from_millis(waited)).as_millis();
    assert_eq!([0, 4, 30, 99, 500, 5_000].map(pause), [2, 4, 10, 10, 50, 100]);
}
