use std::future::poll_fn;

use super::*;

fn limit(max_connections: usize, max_waiting: usize) -> Rc<ConcurrencyLimit> {
    let limit = ConcurrencyLimit::new("api".to_owned(), Protocol::Http1);
    limit.set(max_connections, max_waiting);
    limit
}

fn requester(key: i64, source: u8) -> Requester {
    let key = (key > 0).then(|| KeyId::from_row(key));
    Requester { key, source: ClientSource::of([192, 0, 2, source].into()) }
}

/// As many permits as there are for this one.
fn take_all(limit: &Rc<ConcurrencyLimit>, requester: Requester) -> Vec<Permit> {
    std::iter::from_fn(|| match limit.request_permit(requester) {
        PermitRequest::Granted(permit) => Some(permit),
        PermitRequest::Queued(_) | PermitRequest::Full => None,
    })
    .collect()
}

fn queue(limit: &Rc<ConcurrencyLimit>, requester: Requester) -> Option<QueuedRequest> {
    match limit.request_permit(requester) {
        PermitRequest::Queued(queued) => Some(queued),
        PermitRequest::Granted(_) => panic!("there was a permit"),
        PermitRequest::Full => None,
    }
}

fn permit(queued: &mut QueuedRequest) -> Option<Permit> {
    match queued.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn case_103_a_holder_of_many_permits_leaves_some_to_others() {
    for max in [2, 3, 4, 10, 100, 4096] {
        let limit = limit(max, 0);
        let mut taken = Vec::new();
        let mut counts = Vec::new();
        // a source of its own each: with a key and without
        for holder in 0..20 {
            let own =
                take_all(&limit, requester(if holder % 2 == 0 { 0 } else { i64::from(holder) }, holder));
            counts.push(own.len());
            taken.extend(own);
        }
        assert!(counts[0] < max && counts[0] * 3 + 3 >= max * 2, "{max}: {counts:?}");
        assert!(counts.iter().sum::<usize>() <= max);
        assert!(max < 100 || counts[..3].iter().all(|count| *count > 0), "{max}: {counts:?}");
        drop(taken);
        assert_eq!(limit.permits(), 0);
        limit.forget_idle_holders();
        assert!(limit.usage_by_holder.borrow().is_empty(), "who has nothing is forgotten");
    }
}

#[test]
fn case_103_a_source_with_many_keys_leaves_something_to_other_sources() {
    let limit = limit(90, 0);
    let many: Vec<_> = (1..100).flat_map(|key| take_all(&limit, requester(key, 1))).collect();
    assert!((70..=82).contains(&many.len()), "{}", many.len());
    // a key that others use too, from elsewhere
    assert!(!take_all(&limit, requester(200, 2)).is_empty());
    assert!(!take_all(&limit, requester(0, 3)).is_empty());
}

#[test]
fn case_103_the_only_connection_goes_to_the_first_request() {
    let limit = limit(1, 4);
    let first = take_all(&limit, requester(1, 1));
    assert_eq!(first.len(), 1);
    let mut second = queue(&limit, requester(2, 2)).unwrap();
    assert!(permit(&mut second).is_none());
    drop(first);
    assert!(permit(&mut second).is_some());
}

#[test]
fn case_103_permits_go_to_the_holder_with_the_fewest_and_the_queue_is_shared_too() {
    let limit = limit(9, 30);
    let greedy = requester(1, 1);
    let mut taken = take_all(&limit, greedy);
    taken.extend(take_all(&limit, requester(2, 2)));
    taken.extend(take_all(&limit, requester(3, 3)));
    taken.extend(take_all(&limit, requester(4, 4)));
    assert_eq!(limit.free(), 0, "three and more have taken all");
    let mut waiting: Vec<_> = std::iter::from_fn(|| queue(&limit, greedy)).collect();
    assert!((15..=21).contains(&waiting.len()), "the greedy one has {} of 30 places", waiting.len());
    let mut modest = queue(&limit, requester(5, 5)).unwrap();
    drop(taken.remove(0));
    let served = permit(&mut modest).expect("whoever has none comes before who was there first");
    assert!(waiting.iter_mut().all(|waiter| permit(waiter).is_none()));
    drop((served, taken));
    let permits: Vec<_> = waiting.iter_mut().filter_map(permit).collect();
    assert_eq!(permits.len(), 5, "as many as the greedy one may have");
}

#[test]
fn case_103_a_request_that_leaves_the_queue_leaves_nothing_behind() {
    let limit = limit(1, 2);
    let held = take_all(&limit, requester(1, 1));
    let first = queue(&limit, requester(2, 2)).unwrap();
    let mut second = queue(&limit, requester(3, 3)).unwrap();
    assert!(queue(&limit, requester(4, 4)).is_none(), "two may wait");
    drop(first);
    let third = queue(&limit, requester(4, 4)).unwrap();
    drop(held);
    assert_eq!(limit.permits(), 1, "the second one has it");
    // gone between being served and hearing of it
    drop(third);
    assert!(permit(&mut second).is_some());
    assert_eq!(limit.permits(), 0);
}

#[tokio::test]
async fn case_103_a_released_permit_wakes_the_next_in_the_queue() {
    let limit = limit(1, 2);
    let held = take_all(&limit, requester(1, 1));
    let mut queued = queue(&limit, requester(2, 2)).unwrap();
    let (permit, ()) = tokio::join!(poll_fn(|cx| queued.poll(cx)), async {
        tokio::task::yield_now().await;
        drop(held);
    });
    assert_eq!(limit.permits(), 1);
    drop(permit);
}

#[test]
fn case_103_an_http2_connection_counts_for_as_many_requests_as_it_takes() {
    let limit = ConcurrencyLimit::new("api".to_owned(), Protocol::Http2);
    limit.set(2, 10);
    limit.set_streams(3);
    let mut taken = take_all(&limit, requester(1, 1));
    assert_eq!(taken.len(), 3);
    taken.extend(take_all(&limit, requester(2, 2)));
    taken.extend(take_all(&limit, requester(3, 3)));
    taken.extend(take_all(&limit, requester(4, 4)));
    assert_eq!(limit.permits(), 6);
    let mut queued = queue(&limit, requester(5, 5)).unwrap();
    limit.set_streams(4);
    assert!(permit(&mut queued).is_some(), "the upstream takes more");
    let (first, second) = (limit.reserve_connection(), limit.reserve_connection());
    assert!(first.is_some() && second.is_some() && limit.reserve_connection().is_none());
    drop(first);
    assert!(limit.reserve_connection().is_some());
}
