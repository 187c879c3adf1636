use super::*;
use crate::upstream::destination_state::{DestinationStates, EndpointAddress};

fn balancer(count: usize, balance: Balance, ejection: Option<Ejection>) -> Balancer {
    let states = DestinationStates::new(std::sync::Arc::default());
    let destination = |endpoint: usize| {
        let of =
            EndpointAddress { upstream: "api".to_owned(), endpoint: endpoint.to_string(), address: None };
        Destination::for_tests(endpoint, states.find_or_add(&of))
    };
    Balancer::new((0..count).map(destination).collect(), balance, ejection)
}

fn ejection(consecutive: u32, pause: Duration) -> Ejection {
    Ejection { consecutive, pause, ..Ejection::default() }
}

const LONG: Duration = Duration::from_mins(1);

fn chosen(balancer: &Balancer) -> usize {
    balancer.choose(&[], false, true).expect("a destination").destination.endpoint
}

/// Requests fail there until it is ejected or `most` have failed; how many did.
fn fail_at(balancer: &Balancer, endpoint: usize, most: usize) -> usize {
    let destination = &balancer.destinations()[endpoint];
    let failed = (1..=most).find(|_| {
        let request = InFlight::begin(destination, Duration::ZERO);
        balancer.failed(&request) != AfterFailure::Nothing
    });
    failed.unwrap_or(most)
}

fn ejected(balancer: &Balancer) -> Vec<usize> {
    let all = balancer.destinations();
    all.iter().filter(|one| one.state.is_ejected()).map(|one| one.endpoint).collect()
}

#[test]
fn destinations_take_turns_and_each_is_tried_once() {
    let turn = balancer(3, Balance::Turn, None);
    assert_eq!([0; 6].map(|_| chosen(&turn)), [0, 1, 2, 0, 1, 2]);
    let mut tried = Vec::new();
    while let Some(request) = turn.choose(&tried, false, true) {
        tried.push(Rc::clone(&request.destination));
    }
    let mut tried: Vec<_> = tried.iter().map(|one| one.endpoint).collect();
    assert_eq!(tried[0], 0);
    tried.sort_unstable();
    assert_eq!((tried, chosen(&turn)), (vec![0, 1, 2], 1), "only the first attempt took a turn");
    let single = balancer(1, Balance::Least, None);
    let only = single.choose(&[], false, true).expect("the only one");
    assert!(single.choose(std::slice::from_ref(&only.destination), false, true).is_none());
}

#[test]
fn the_one_with_fewer_requests_in_flight_gets_more() {
    let least = balancer(4, Balance::Least, None);
    // one answers nothing
    let stuck: Vec<_> = (0..20).map(|_| InFlight::begin(&least.destinations()[2], Duration::ZERO)).collect();
    let mut counts = [0; 4];
    for _ in 0..400 {
        counts[chosen(&least)] += 1;
    }
    assert_eq!(counts[2], 0, "{counts:?}");
    assert!(counts.iter().filter(|count| **count > 80).count() == 3, "{counts:?}");
    drop(stuck);
    assert_eq!(least.destinations()[2].state.in_flight(), 0);
    // requests that come one by one are spread evenly
    let mut counts = [0; 4];
    for _ in 0..400 {
        counts[chosen(&least)] += 1;
    }
    assert_eq!(counts, [100; 4]);
}

#[test]
fn failures_in_a_row_eject_and_a_success_starts_anew() {
    let turn = balancer(2, Balance::Turn, Some(ejection(5, LONG)));
    assert_eq!(fail_at(&turn, 0, 4), 4);
    let request = InFlight::begin(&turn.destinations()[0], LONG);
    assert!(!request.succeeded());
    assert_eq!(fail_at(&turn, 0, 4), 4);
    assert!(ejected(&turn).is_empty());
    assert_eq!(fail_at(&turn, 0, 10), 1);
    assert_eq!(ejected(&turn), [0]);
    assert_eq!([0; 4].map(|_| chosen(&turn)), [1; 4]);
    let off = balancer(2, Balance::Turn, None);
    assert_eq!(fail_at(&off, 0, 100), 100);
    assert!(ejected(&off).is_empty());
}

#[test]
fn the_last_destination_and_more_than_the_share_are_never_ejected() {
    for (count, percent, most) in
        [(1, 100, 0), (2, 50, 1), (2, 10, 1), (2, 100, 1), (3, 50, 1), (4, 50, 2), (10, 50, 5), (10, 100, 9)]
    {
        let policy = Ejection { consecutive: 1, pause: LONG, at_most_percent: percent };
        let all = balancer(count, Balance::Least, Some(policy));
        for endpoint in 0..count {
            fail_at(&all, endpoint, 3);
        }
        assert_eq!(ejected(&all).len(), most, "{percent} % of {count}");
        // where none is well, all are tried
        let mut tried = Vec::new();
        while let Some(request) = all.choose(&tried, false, true) {
            tried.push(Rc::clone(&request.destination));
        }
        assert_eq!(tried.len(), count);
    }
}

#[test]
fn an_ejected_destination_gets_one_request_after_its_pause() {
    let turn = balancer(2, Balance::Turn, Some(ejection(1, Duration::ZERO)));
    fail_at(&turn, 0, 1);
    // the pause is over at once; what is under way keeps others away only as long as another pause lasts
    let trial = turn.choose(&[], false, true).expect("a trial");
    assert_eq!((trial.destination.endpoint, trial.is_trial.get()), (0, true));
    assert!(trial.succeeded(), "it is back");
    assert!(ejected(&turn).is_empty());

    let long = balancer(2, Balance::Turn, Some(ejection(1, LONG)));
    fail_at(&long, 0, 1);
    let over = |balancer: &Balancer| balancer.destinations()[0].state.eject(Instant::now());
    over(&long);
    assert_eq!([0; 2].map(|_| long.choose(&[], true, true).map(|it| it.destination.endpoint)), [Some(1); 2]);
    let trial = long
        .choose(&[], false, true)
        .filter(|it| it.is_trial.get())
        .or_else(|| long.choose(&[], false, true));
    let trial = trial.expect("a trial");
    assert_eq!(trial.destination.endpoint, 0);
    assert_eq!([0; 4].map(|_| chosen(&long)), [1; 4], "one at a time");
    // a client that leaves shows nothing
    drop(trial);
    let trial =
        [0; 2].map(|_| long.choose(&[], false, true)).into_iter().flatten().find(|it| it.is_trial.get());
    let trial = trial.expect("another trial");
    assert_eq!(long.failed(&trial), AfterFailure::Nothing);
    drop(trial);
    assert_eq!([0; 4].map(|_| chosen(&long)), [1; 4], "it failed, and has another pause");
    assert_eq!(ejected(&long), [0]);
}

#[test]
fn what_was_sent_before_the_ejection_does_not_end_it() {
    let turn = balancer(2, Balance::Turn, Some(ejection(1, LONG)));
    let slow = InFlight::begin(&turn.destinations()[0], LONG);
    fail_at(&turn, 0, 1);
    assert!(!slow.succeeded());
    assert_eq!(ejected(&turn), [0]);
}
