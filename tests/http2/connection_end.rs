//! How connections end: limits, timeouts, GOAWAY, the stop of the gateway.

use super::flow_control::FlowControlledClient;
use super::*;

/// A gateway whose deadlines can be watched.
fn impatient() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::with(|plan| plan.top("timeouts: { header: 1s, idle: 1s, write: 1s }"));
        prepare(&stage);
        stage
    })
}

#[test]
fn a_client_that_keeps_sending_requests_keeps_its_connection() {
    let stage = impatient();
    let key = stage.e1.authorization();
    let mut client = FlowControlledClient::connect(stage);
    let begun = Instant::now();
    let mut stream = 1;
    while begun.elapsed() < Duration::from_secs(4) {
        // `read` fails where there is a goodbye
        client.begin(stream, "GET", ECHO, Some(&key), true);
        assert_eq!(client.end_of(stream), Some(200));
        stream += 2;
        std::thread::sleep(Duration::from_millis(100));
    }
    // it is when it asks no more
    let begun = Instant::now();
    assert_eq!(client.raw.last_word("idle"), NO_ERROR);
    assert!(begun.elapsed() > Duration::from_millis(800), "after {:?}", begun.elapsed());
}

#[test]
fn a_refusal_that_nobody_fetches_does_not_keep_its_stream() {
    let stage = impatient();
    let mut client = RawHttp2::connect(stage.gateway.https());
    client.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 0)).expect("an open connection");
    client
        .write(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", ECHO, None, &[]))
        .expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
    assert!(
        matches!(client.outcome_of(1), StreamOutcome::Reset(_)),
        "the answer's body is waited for for ever"
    );
}

#[test]
fn a_client_that_ignores_goaway_is_not_served_for_ever() {
    let limits = "timeouts: { header: 1s, idle: 1s }\nlimits: { requests_per_connection: 3 }";
    let stage = Stage::with(|plan| plan.top(limits));
    prepare(&stage);
    let key = stage.e1.authorization();
    // the ping behind the goodbye is never answered, and there is always something open
    let mut client = RawHttp2::connect(stage.gateway.https());
    let begun = Instant::now();
    for stream in (1..).step_by(4) {
        for (stream, path) in [(stream, HELD), (stream + 2, ECHO)] {
            let head = head("GET", path, Some(&key), &[]);
            if client.write(HEADERS, END_HEADERS | END_STREAM, stream, &head).is_err() {
                return;
            }
        }
        match outcome_ignoring_goaway(&mut client, stream + 2) {
            Some(StreamOutcome::Status(200)) => {}
            Some(StreamOutcome::Reset(REFUSED_STREAM)) | None => return,
            other => panic!("{other:?}"),
        }
        client.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).ok();
        assert!(begun.elapsed() < Duration::from_secs(8), "{stream} streams were served");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of a stream, whatever goodbyes are said; nothing at the connection's end.
fn outcome_ignoring_goaway(client: &mut RawHttp2, stream: u32) -> Option<StreamOutcome> {
    loop {
        let frame = client.read(PATIENCE)?;
        match frame.kind {
            HEADERS if frame.stream == stream => return Some(StreamOutcome::Status(status(&frame.payload))),
            RST_STREAM if frame.stream == stream => {
                return Some(StreamOutcome::Reset(number(&frame.payload)));
            }
            _ => {}
        }
    }
}

/// Whether the process runs, or stands still.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn finished_answers_reach_a_slow_client_while_the_gateway_stops() {
    const STREAMS: u32 = 120;
    let mut stage = Stage::start();
    let path = "/v1/projects/e1/long-heads";
    let long = format!("HTTP/1.1 200 OK\nX-Long: {}", "h".repeat(60_000));
    stage.upstream.answer(path, Answer::with(&long, b""));
    let (key, mark) = (stage.e1.authorization(), marker());
    let mut client = RawHttp2::connect(stage.gateway.https());
    for at in 0..STREAMS {
        let head = head("GET", path, Some(&key), &[(b"x-marker", mark.as_bytes())]);
        client.write(HEADERS, END_HEADERS | END_STREAM, at * 2 + 1, &head).expect("an open connection");
    }
    wait_for(PATIENCE, "all are with the upstream", || {
        stage.upstream.requests(&mark).len() == usize::try_from(STREAMS).expect("few")
    });
    stage.gateway.signal("TERM");
    // longer than a client has to answer the goodbye that is somewhere behind all this
    let pid = stage.gateway.pid();
    stays(Duration::from_millis(2500), "the gateway waits until its answers are read", || runs(pid));
    let mut whole = 0;
    while whole < STREAMS {
        let frame = client.read(PATIENCE);
        let Some(frame) = frame else { panic!("{whole} of {STREAMS} answers have come") };
        let is_head = frame.kind == HEADERS || frame.kind == CONTINUATION;
        whole += u32::from(is_head && frame.flags & END_HEADERS != 0);
    }
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}
