//! The chart of the last hour: requests a minute, by what became of them, as SVG. Pure: numbers in, geometry out.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;

use super::relative_time::clock;

/// What can become of a request: word, class in the style sheet, what it means. From the bottom of a bar up.
pub(super) const OUTCOMES: [(&str, &str, &str); 5] = [
    ("Allowed", "allowed", "answered by the API"),
    ("Failed", "failed", "the API failed or was too slow (5xx)"),
    ("No valid key", "unauthorized", "without a key that works (401, 429)"),
    ("Forbidden", "forbidden", "with a key that may not do this (403)"),
    ("Refused", "refused", "malformed, ambiguous, or for no known route (other 4xx)"),
];

/// The requests of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute {
    /// When it began.
    pub(super) start: Timestamp,
    /// In the order of [`OUTCOMES`].
    pub(super) counts: [u64; OUTCOMES.len()],
}

impl Minute {
    fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

// heights are in pixels, widths in per cent of the picture's: it grows and shrinks sideways, and its words do not
const TOP: f64 = 12.0;
const HEIGHT: f64 = 200.0;
const SLOT: f64 = 100.0 / 60.0;
const BAR: f64 = 1.2;
/// A single request beside thousands is still to be seen.
const LEAST_HEIGHT: f64 = 1.5;
/// Lines across the picture above its bottom, at most.
const MOST_STEPS: u64 = 4;

/// The chart, ready to be drawn.
#[derive(Template)]
#[template(path = "chart.html")]
pub(super) struct Chart {
    minutes: Vec<Minute>,
    bars: Vec<Bar>,
    slots: Vec<Slot>,
    lines: Vec<Line>,
    /// Where a time stands, and which.
    times: Vec<(String, String)>,
    totals: [u64; OUTCOMES.len()],
}

impl HtmlSafe for Chart {}

/// One minute that had requests.
struct Bar {
    parts: Vec<Part>,
}

/// A minute's place in the picture, from top to bottom, and its values.
struct Slot {
    x: String,
    title: String,
}

/// One outcome in it.
struct Part {
    class: &'static str,
    x: String,
    y: String,
    height: String,
}

/// A line across the picture.
struct Line {
    y: String,
    /// Where its label stands.
    label_y: String,
    label: String,
}

impl Chart {
    /// Draws the minutes, oldest first.
    pub(super) fn new(minutes: &[Minute]) -> Self {
        let most = minutes.iter().map(Minute::total).max().unwrap_or(0);
        let (step, steps) = scale(most);
        let full = exact(step) * exact(steps);
        let y = |count: f64| TOP + HEIGHT - count / full * HEIGHT;
        let mut totals = [0_u64; OUTCOMES.len()];
        for minute in minutes {
            for (total, count) in totals.iter_mut().zip(minute.counts) {
                *total = total.saturating_add(count);
            }
        }
        Self {
            bars: minutes.iter().enumerate().filter_map(|(at, minute)| bar(at, minute, full)).collect(),
            slots: minutes.iter().enumerate().map(|(at, minute)| slot(at, minute)).collect(),
            lines: (0..=steps)
                .map(|line| Line {
                    y: number(y(exact(step * line))),
                    label_y: number(y(exact(step * line)) + 4.0),
                    label: short(step * line),
                })
                .collect(),
            times: minutes
                .iter()
                .enumerate()
                .filter(|(_, minute)| minute.start.as_second().rem_euclid(600) == 0)
                .map(|(at, minute)| (number(x(at) + BAR / 2.0), clock(minute.start)))
                .collect(),
            totals,
            minutes: minutes.to_vec(),
        }
    }

    fn outcomes(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, String)> {
        OUTCOMES
            .into_iter()
            .zip(self.totals)
            .map(|((word, class, meaning), total)| (word, class, meaning, group_thousands(total)))
    }

    fn rows(&self) -> impl Iterator<Item = (String, &[u64; OUTCOMES.len()])> {
        self.minutes.iter().map(|minute| (clock(minute.start), &minute.counts))
    }

    /// The picture in a sentence.
    fn summary(&self) -> String {
        let total = self.totals.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return "No requests in the last hour.".to_owned();
        }
        let parts: Vec<_> = OUTCOMES
            .into_iter()
            .zip(self.totals)
            .filter(|(_, count)| *count > 0)
            .map(|((word, ..), count)| format!("{} {}", group_thousands(count), word.to_lowercase()))
            .collect();
        format!("{} requests in the last hour: {}.", group_thousands(total), parts.join(", "))
    }
}

fn x(at: usize) -> f64 {
    exact(at as u64) * SLOT + (SLOT - BAR) / 2.0
}

fn bar(at: usize, minute: &Minute, full: f64) -> Option<Bar> {
    if minute.total() == 0 {
        return None;
    }
    let mut top = TOP + HEIGHT;
    let mut parts = Vec::new();
    for ((_, class, _), count) in OUTCOMES.into_iter().zip(minute.counts) {
        if count == 0 {
            continue;
        }
        let height = (exact(count) / full * HEIGHT).max(LEAST_HEIGHT);
        top -= height;
        parts.push(Part { class, x: number(x(at)), y: number(top), height: number(height) });
    }
    Some(Bar { parts })
}

fn slot(at: usize, minute: &Minute) -> Slot {
    let counts = OUTCOMES.into_iter().zip(minute.counts).filter(|(_, count)| *count > 0);
    let words: Vec<_> = counts
        .map(|((word, ..), count)| format!("{} {}", group_thousands(count), word.to_lowercase()))
        .collect();
    let values = if words.is_empty() { "no requests".to_owned() } else { words.join(", ") };
    Slot { x: number(exact(at as u64) * SLOT), title: format!("{} UTC: {values}", clock(minute.start)) }
}

/// A round step and how many of them hold the greatest value.
fn scale(most: u64) -> (u64, u64) {
    let least = most.div_ceil(MOST_STEPS).max(1);
    let mut power = 1_u64;
    let step = loop {
        let found =
            [1, 2, 5].into_iter().map(|digit| power.saturating_mul(digit)).find(|step| *step >= least);
        match found {
            Some(step) => break step,
            None => power = power.saturating_mul(10),
        }
    };
    (step, most.div_ceil(step).max(1))
}

#[allow(clippy::cast_precision_loss, reason = "a pixel does not show the difference")]
fn exact(count: u64) -> f64 {
    count as f64
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A round number as it stands at a line: there is not much room.
fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 if number.is_multiple_of(1_000) => format!("{}k", number / 1_000),
        1_000..1_000_000 => format!("{}.{}k", number / 1_000, number % 1_000 / 100),
        _ if number.is_multiple_of(1_000_000) => format!("{}M", group_thousands(number / 1_000_000)),
        _ => format!("{}.{}M", group_thousands(number / 1_000_000), number % 1_000_000 / 100_000),
    }
}

/// A number with its thousands apart.
pub(super) fn group_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(counts: impl Fn(usize) -> [u64; 5]) -> Vec<Minute> {
        let first: Timestamp = "2026-03-05T09:21:00Z".parse().unwrap();
        let start = |at: usize| first + jiff::SignedDuration::from_mins(i64::try_from(at).unwrap());
        (0..60).map(|at| Minute { start: start(at), counts: counts(at) }).collect()
    }

    #[test]
    fn steps_are_round_and_hold_the_greatest_value() {
        for (most, scale_of_it) in [
            (0, (1, 1)),
            (1, (1, 1)),
            (4, (1, 4)),
            (5, (2, 3)),
            (37, (10, 4)),
            (41, (20, 3)),
            (999, (500, 2)),
        ] {
            assert_eq!(scale(most), scale_of_it, "{most}");
        }
        let (step, steps) = scale(u64::MAX);
        assert!(step > 0 && steps > 0);
    }

    #[test]
    fn bars_stand_on_one_another_within_the_picture() {
        let chart = Chart::new(&hour(|at| if at == 59 { [3, 0, 0, 1, 0] } else { [0; 5] }));
        assert_eq!(chart.bars.len(), 1);
        let parts = &chart.bars[0].parts;
        assert_eq!((parts[0].class, parts[0].y.as_str(), parts[0].height.as_str()), ("allowed", "62", "150"));
        assert_eq!(
            (parts[1].class, parts[1].y.as_str(), parts[1].height.as_str()),
            ("forbidden", "12", "50")
        );
        assert_eq!(chart.slots[59].title, "10:20 UTC: 3 allowed, 1 forbidden");
        assert_eq!(
            (chart.slots[0].x.as_str(), chart.slots[0].title.as_str()),
            ("0", "09:21 UTC: no requests")
        );
        assert_eq!(chart.lines.len(), 5);
    }

    #[test]
    fn a_few_refusals_beside_many_requests_are_to_be_seen() {
        let chart = Chart::new(&hour(|_| [100_000, 0, 1, 0, 0]));
        assert_eq!(chart.bars[0].parts[1].height, "1.5");
        assert_eq!(
            chart.summary(),
            "6,000,060 requests in the last hour: 6,000,000 allowed, 60 no valid key."
        );
    }

    #[test]
    fn times_stand_under_every_tenth_minute() {
        let chart = Chart::new(&hour(|_| [0; 5]));
        let times: Vec<_> = chart.times.iter().map(|(_, time)| time.as_str()).collect();
        assert_eq!(times, ["09:30", "09:40", "09:50", "10:00", "10:10", "10:20"]);
        assert_eq!(chart.summary(), "No requests in the last hour.");
        assert!(chart.render().unwrap().contains("<svg"));
    }

    #[test]
    fn lines_have_short_labels() {
        for (number, text) in [
            (0, "0"),
            (500, "500"),
            (1_000, "1k"),
            (1_500, "1.5k"),
            (200_000, "200k"),
            (1_500_000, "1.5M"),
            (2_000_000_000, "2,000M"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(group_thousands(number), text);
        }
    }
}
